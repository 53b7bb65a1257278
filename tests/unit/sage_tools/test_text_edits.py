"""Lines that are added to files, and files that look otherwise than expected."""

from __future__ import annotations

import pytest

from sage_common.errors import UnprocessableError
from sage_tools.scaffold.text_edits import after, before, line_in_order, replaced

LISTED = "top\nuse b\nuse d\nend\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("use a", "top\nuse a\nuse b\nuse d\nend\n"),
        ("use c", "top\nuse b\nuse c\nuse d\nend\n"),
        ("use e", "top\nuse b\nuse d\nuse e\nend\n"),
    ],
)
def test_a_line_goes_where_it_belongs_among_its_like(line: str, expected: str) -> None:
    assert line_in_order("use ", line)(LISTED) == expected


def test_a_text_goes_before_behind_or_in_the_place_of_its_mark() -> None:
    assert before("end", "z ")(LISTED).endswith("use d\nz end\n")
    assert after("top\n", "next\n")(LISTED).startswith("top\nnext\nuse b")
    assert replaced("use b\n", "")(LISTED) == "top\nuse d\nend\n"


def test_a_mark_that_is_not_there_or_not_alone_is_an_error_that_says_so() -> None:
    with pytest.raises(UnprocessableError, match="'use ' is there 2 times, not once"):
        before("use ", "x")(LISTED)
    with pytest.raises(UnprocessableError, match="'bottom' is there 0 times"):
        after("bottom", "x")(LISTED)
    with pytest.raises(UnprocessableError, match="no line like 'import '"):
        line_in_order("import ", "import a")(LISTED)
