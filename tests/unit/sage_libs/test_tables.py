from __future__ import annotations

from sage_libs.tables import begins_within_table, head_above

TEXT = "Words.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\n| 5 | 6 |\n"


def test_rows_in_the_middle_of_a_table_have_the_head_above_them() -> None:
    assert head_above(TEXT, TEXT.index("| 1")) == "| a | b |\n|---|---|"
    assert head_above(TEXT, TEXT.index("| 3")) == "| a | b |\n|---|---|"


def test_what_is_no_row_or_has_its_head_itself_needs_none() -> None:
    assert head_above(TEXT, 0) == ""
    assert head_above(TEXT, TEXT.index("| a")) == ""
    assert head_above(TEXT, TEXT.index("| 5")) == ""
    assert not begins_within_table(TEXT[TEXT.index("| a") :])
