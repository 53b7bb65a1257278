from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_libs.headings import sections
from sage_libs.section_kind import SectionKind, asked_kinds, section_kind
from sage_libs.token_chunking import estimated_starts, token_chunks


def _words(text: str) -> Sequence[int]:
    return [match.start() for match in re.finditer(r"\S+", text)]


def test_a_chunk_never_crosses_a_heading_and_knows_those_above() -> None:
    text = "Before.\n\n# A\n\nOne.\n\n## B\n\nTwo.\n\n```\n# no heading\n```\n\n# C\n\nThree.\n"
    chunks = token_chunks(text, ".md", 100, _words)
    assert [chunk.headings for chunk in chunks] == [(), ("A",), ("A", "B"), ("C",)]
    assert text[chunks[2].start : chunks[2].end].startswith("Two.")


def test_headings_of_restructuredtext_have_the_level_of_their_line() -> None:
    text = "Guide\n=====\n\nIntro.\n\nFirst\n-----\n\nOne.\n\nOther\n=====\n\nTwo.\n"
    assert [section.headings for section in sections(text, ".rst")] == [("Guide",), ("Guide", "First"), ("Other",)]


def test_a_sentence_longer_than_a_chunk_is_cut_between_words() -> None:
    text = " ".join(f"w{number}" for number in range(25))
    chunks = token_chunks(text, ".txt", 10, _words)
    assert [chunk.tokens for chunk in chunks] == [10, 10, 5]
    assert " ".join(text[chunk.start : chunk.end] for chunk in chunks) == text


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab .\n#|-`é漢", max_size=300), st.integers(2, 30), st.sampled_from([".md", ".txt", ".rst"]))
def test_chunks_hold_all_text_in_order_within_their_limit(text: str, limit: int, suffix: str) -> None:
    chunks = token_chunks(text, suffix, limit, estimated_starts)
    end = 0
    for chunk in chunks:
        assert end <= chunk.start < chunk.end
        assert chunk.tokens <= limit
        end = chunk.end
    inside = {at for chunk in chunks for at in range(chunk.start, chunk.end)}
    for section in sections(text, suffix):
        for at in range(section.start, section.end):
            assert at in inside or text[at].isspace()


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        token_chunks("a", ".txt", 1, _words)


@pytest.mark.parametrize(
    ("path", "headings", "text", "kind"),
    [
        ("LICENSE", (), "Permission is granted", SectionKind.LICENCE),
        ("docs/CHANGELOG.md", ("Changelog", "1.0"), "Fixed it", SectionKind.CHANGELOG),
        ("guide.md", ("Guide", "Contents"), "- one", SectionKind.CONTENTS),
        ("guide.md", ("Guide",), "\n".join(f"- [Part {n}](#part-{n})" for n in range(5)), SectionKind.CONTENTS),
        ("book.pdf", (), "\n".join(f"Chapter {n} ........ {n}7" for n in range(5)), SectionKind.CONTENTS),
        ("guide.md", ("Guide", "Licensing a car"), "Take it to the office.", SectionKind.BODY),
        ("newsletter.md", ("Newsletter",), "The sky is blue.", SectionKind.BODY),
    ],
)
def test_lists_dates_and_permissions_are_told_from_text(
    path: str, headings: tuple[str, ...], text: str, kind: SectionKind
) -> None:
    assert section_kind(path, headings, text) is kind


def test_a_question_may_be_about_one() -> None:
    assert asked_kinds("What does the license permit?") == {SectionKind.BODY, SectionKind.LICENCE}
    assert asked_kinds("Why is the sky blue?") == {SectionKind.BODY}
