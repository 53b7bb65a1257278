from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage_libs.evidence import EvidenceForm, evidence_of


def texts(passage: str) -> list[str]:
    return [one.text for one in evidence_of(passage)]


def test_sentences_lose_their_markup_and_code_has_lines_of_its_own() -> None:
    found = evidence_of("## A title\n\n1. One  **two**\n   [three](there.md).\n\n```py\nx = one\ny = two\n```\n---\n")
    assert [(one.text, one.form) for one in found] == [
        ("A title", EvidenceForm.HEADING),
        ("One two three.", EvidenceForm.SENTENCE),
        ("x = one", EvidenceForm.CODE),
        ("y = two", EvidenceForm.CODE),
    ]


def test_a_passage_that_begins_within_a_fenced_block_is_code_up_to_its_end() -> None:
    found = evidence_of("$ sage up\nready in 7 s\n```\n\nAn answer. Another.")
    assert [(one.text, one.form) for one in found] == [
        ("$ sage up", EvidenceForm.CODE),
        ("ready in 7 s", EvidenceForm.CODE),
        ("An answer.", EvidenceForm.SENTENCE),
        ("Another.", EvidenceForm.SENTENCE),
    ]
    for whole in ("A sentence.\n```\ncode\n```\n", "A sentence.\n\n```\n\ncode\n```\n", "```\ncode\n```"):
        assert evidence_of(whole)[-1] == ("code", EvidenceForm.CODE, "")


def test_a_row_is_read_with_the_heads_of_its_columns() -> None:
    table = "| what dies | who notices | then |\n|---|:-:|---|\n| **an engine** | heartbeats | another takes over |\n"
    (row,) = evidence_of(table)
    assert row.text == "an engine – who notices: heartbeats; then: another takes over"
    assert (row.lead, row.form) == ("what dies", EvidenceForm.ROW)


def test_rows_without_a_head_keep_their_cells() -> None:
    assert texts("| the queue | it waits |\n| the engine | |\n") == ["the queue – it waits", "the engine"]


def test_drawings_and_rules_are_no_evidence() -> None:
    assert texts("a ────────► b ──► c\n▲      │\n\n---\n\n|---|---|\n") == []


def test_what_a_definition_says_is_read_with_its_term() -> None:
    found = evidence_of("HGRCPATH\n    Where files are. Items are separated.\n\n    If empty, one is read.\n\nThe end.")
    assert [(one.lead, one.text) for one in found] == [
        ("", "HGRCPATH: Where files are."),
        ("HGRCPATH", "Items are separated."),
        ("HGRCPATH", "If empty, one is read."),
        ("", "The end."),
    ]


def test_a_sentence_takes_along_the_code_that_it_announces() -> None:
    passage = "To turn it off, set::\n\n  [ui]\n  paginate = never\n\nThat prevents it."
    assert texts(passage) == ["To turn it off, set: [ui] paginate = never", "That prevents it."]


@given(st.text(alphabet="ab |-#`\n.:*_[]()", max_size=200))
def test_any_text_gives_pieces_on_one_line(text: str) -> None:
    for one in evidence_of(text):
        assert one.text == " ".join(one.text.split())
        assert any(character.isalnum() for character in one.text)
