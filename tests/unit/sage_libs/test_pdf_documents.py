"""PDFs where docling is installed: a package in its place with the part of its documented interface that is used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sage_libs import pdf_documents
from sage_libs.loaders import UnreadableDocumentError, load_text
from sage_middleware.knowledge.isolated_loading import load_isolated
from tests.fixtures.pdf_files import pdf_of

_FILES = {
    "__init__.py": "",
    "datamodel/__init__.py": "",
    "datamodel/base_models.py": """
from enum import Enum
from io import BytesIO
from pydantic import BaseModel, ConfigDict

class InputFormat(str, Enum):
    PDF = "pdf"

class DocumentStream(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    name: str
    stream: BytesIO
""",
    # The text of a page that has any, below a heading, with an image before it.
    "document_converter.py": """
from types import SimpleNamespace
from pypdf import PdfReader

class DocumentConverter:
    def __init__(self, allowed_formats=None, format_options=None):
        assert [one.value for one in allowed_formats] == ["pdf"]

    def convert(self, source, *, raises_on_error=True):
        texts = [page.extract_text() for page in PdfReader(source.stream).pages]
        if "unknown to docling" in "".join(texts):
            raise RuntimeError("its models are not there")
        def export_to_markdown(page_no=None, escape_html=True):
            text = texts[page_no - 1]
            return f"<!-- image -->\\n\\n## Part {page_no}\\n\\n{text}" if text else ""
        pages = {number: None for number in range(1, len(texts) + 1)}
        return SimpleNamespace(document=SimpleNamespace(pages=pages, export_to_markdown=export_to_markdown))
""",
}


@pytest.fixture
def docling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install it, for this process and for those that it starts."""
    for name, text in _FILES.items():
        file = tmp_path / "docling" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    pdf_documents._converter.cache_clear()
    yield
    pdf_documents._converter.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "docling"]:
        del sys.modules[name]


@pytest.mark.usefixtures("docling")
def test_a_pdf_has_its_headings_its_title_and_every_page() -> None:
    loaded = load_text(pdf_of("First page.", "", "Third page."), ".pdf")
    assert loaded.text.split("\f\n") == ["## Part 1\n\nFirst page.", "", "## Part 3\n\nThird page."]
    assert (loaded.title, loaded.is_markdown) == ("Part 1", True)


@pytest.mark.usefixtures("docling")
def test_what_docling_cannot_read_is_read_as_it_is_without_it() -> None:
    loaded = load_text(pdf_of("This is unknown to docling."), ".pdf")
    assert (loaded.text, loaded.is_markdown) == ("This is unknown to docling.", False)
    with pytest.raises(UnreadableDocumentError, match="encrypted"):
        load_text(pdf_of("Secret.", password="key"), ".pdf")
    with pytest.raises(UnreadableDocumentError, match="not a PDF"):
        load_text(b"not a pdf", ".pdf")


@pytest.mark.usefixtures("docling")
async def test_a_pdf_that_was_sent_is_read_by_docling_too() -> None:
    loaded = await load_isolated(pdf_of("First page."), ".pdf")
    assert loaded == ("## Part 1\n\nFirst page.", "Part 1", True)
