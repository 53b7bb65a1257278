"""Office files and tables become Markdown with headings; without the extra, or damaged, they say so."""

from __future__ import annotations

import builtins
import io
import zipfile
from typing import Any

import openpyxl
import pptx
import pytest

from sage_libs.loaders import UnreadableDocumentError, load_text


def _docx() -> bytes:
    """The smallest that Word would open: a heading, a paragraph."""
    types = (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/word/document.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
    )
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
        'Target="word/document.xml"/></Relationships>'
    )
    document = (
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
        '<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>Holidays</w:t></w:r></w:p>'
        "<w:p><w:r><w:t>Everyone has thirty days.</w:t></w:r></w:p></w:body></w:document>"
    )
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("[Content_Types].xml", types)
        archive.writestr("_rels/.rels", relations)
        archive.writestr("word/document.xml", document)
    return target.getvalue()


@pytest.mark.filterwarnings("ignore")
def test_a_word_document_has_its_headings_and_title() -> None:
    loaded = load_text(_docx(), ".docx")
    assert loaded.title == "Holidays"
    assert "# Holidays" in loaded.text
    assert "Everyone has thirty days." in loaded.text


@pytest.mark.filterwarnings("ignore")
def test_a_sheet_and_a_table_are_rows() -> None:
    book = openpyxl.Workbook()
    book.active.title = "Prices"
    book.active.append(["fruit", "euro"])
    book.active.append(["apple", 3])
    target = io.BytesIO()
    book.save(target)
    text = load_text(target.getvalue(), ".xlsx").text
    assert "## Prices" in text
    assert "| apple | 3 |" in text
    assert "| pear | 4 |" in load_text(b"fruit,euro\npear,4\n", ".csv").text


@pytest.mark.filterwarnings("ignore")
def test_a_presentation_has_the_text_of_its_slides() -> None:
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text = "Opening hours"
    slide.placeholders[1].text = "The library opens at nine."
    target = io.BytesIO()
    show.save(target)
    text = load_text(target.getvalue(), ".pptx").text
    assert "Opening hours" in text
    assert "The library opens at nine." in text


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".docx", ".pptx", ".xlsx"])
@pytest.mark.parametrize("data", [b"PK\x03\x04 cut off", _docx()[:300], b"\xd0\xcf\x11\xe0 encrypted" * 40])
def test_a_damaged_or_encrypted_file_is_one_line(suffix: str, data: bytes) -> None:
    with pytest.raises(UnreadableDocumentError) as refusal:
        load_text(data, suffix)
    assert "\n" not in refusal.value.message


def test_without_the_extra_a_file_says_which_one_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_markitdown(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "markitdown":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_markitdown)
    with pytest.raises(UnreadableDocumentError, match=r"\.docx needs pip install 'sage-mesh\[office\]'"):
        load_text(b"x", ".docx")
