from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage_libs.sentences import paragraph_spans, sentence_spans

texts = st.lists(
    st.sampled_from(["word", "Word", ". ", "! ", "e.g. ", "\n", "\n\n", "- ", "# ", "| ", "```", "3. ", "。"])
    | st.text(max_size=4)
).map("".join)


@given(texts)
def test_spans_are_in_order_and_cover_everything_but_space(text: str) -> None:
    for spans in (paragraph_spans(text), sentence_spans(text)):
        position = 0
        for start, end in spans:
            assert position <= start < end <= len(text)
            assert text[position:start].strip() == ""
            assert text[start:end] == text[start:end].strip()
            position = end
        assert text[position:].strip() == ""


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


def test_abbreviations_numbers_and_initials_do_not_end_a_sentence() -> None:
    text = "See e.g. the Guide by J. Smith. Version 2.0 costs 3.5 ms. Dr. Who knows."
    assert sentences(text) == ["See e.g. the Guide by J. Smith.", "Version 2.0 costs 3.5 ms.", "Dr. Who knows."]


def test_a_line_break_inside_a_paragraph_does_not_end_a_sentence() -> None:
    assert sentences("One sentence on\ntwo lines. Another.") == ["One sentence on\ntwo lines.", "Another."]


def test_headings_list_items_and_table_rows_stand_alone() -> None:
    text = "# Title\nBody text here.\n- first item\n- second item\n| a | b |\n| c | d |"
    assert sentences(text) == [
        "# Title", "Body text here.", "- first item", "- second item", "| a | b |", "| c | d |",
    ]  # fmt: skip


def test_full_width_stops_end_sentences_without_a_space() -> None:
    assert sentences("天空是蓝色的。草是绿色的。") == ["天空是蓝色的。", "草是绿色的。"]
