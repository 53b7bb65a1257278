"""Documents are cut into chunks with the headings above them and the pages that they are on."""

from __future__ import annotations

from sage_libs.loaders import LoadedText
from sage_middleware.knowledge.preparation import ReadFile, prepare
from sage_middleware.knowledge.records import FileState
from sage_middleware.knowledge.tokenizers import token_starts_of

_TEXT = "# Holidays\n\nEveryone has thirty days.\f\n## Sickness\n\nCall before nine."


def _chunks(loaded: LoadedText) -> list[tuple[str, str, int | None]]:
    starts, _ = token_starts_of(None)
    file = ReadFile(FileState("", "rules.pdf", 3, 0, b""), b"pdf")
    return [(one.heading, one.text.strip(), one.page) for one in prepare(file, 100, starts, loaded=loaded).chunks]


def test_a_pdf_that_was_read_as_markdown_has_headings_and_one_that_was_not_has_none() -> None:
    assert _chunks(LoadedText(_TEXT, "Holidays", is_markdown=True)) == [
        ("Holidays", "Everyone has thirty days.", 1),
        ("Holidays > Sickness", "Call before nine.", 2),
    ]
    assert {heading for heading, _, _ in _chunks(LoadedText(_TEXT, ""))} == {""}
