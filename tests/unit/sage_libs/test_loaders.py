from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from sage_libs.loaders import LOADERS, LoadedText, UnreadableDocumentError, first_line, format_of, load_text
from tests.fixtures.pdf_files import pdf_of


def test_markdown_keeps_its_text_and_gives_its_title() -> None:
    loaded = load_text(b"---\nlayout: x\n---\n# The Guide #\r\n\r\nText.", ".MD")
    assert loaded == LoadedText("# The Guide #\n\nText.", "The Guide")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_plain_text_is_read_in_every_unicode_encoding(encoding: str) -> None:
    assert load_text("häß".encode(encoding), ".txt").text == "häß"


def test_html_gives_what_the_page_shows() -> None:
    page = b"""<html><head><title>A  page</title><style>p{}</style></head><body><nav>Menu</nav><script>x()</script>
      <h1>Head</h1><p>One <b>bold</b>\n word.<br>Next</p><ul><li>a</li><li>b</li></ul>
      <table><tr><td>1</td><td>2</td></tr></table></body></html>"""
    assert load_text(page, ".html") == LoadedText("Head\n\nOne bold\nword.\nNext\n\na\n\nb\n\n| 1 | 2 |", "A page")


def test_pdf_gives_the_text_of_every_page() -> None:
    assert load_text(pdf_of("First page.", "Second page."), ".pdf").text == "First page.\fSecond page."


@pytest.mark.parametrize(
    ("data", "suffix", "reason"),
    [
        (b"a\0b", ".txt", "binary"),
        (b"a\0b", ".html", "binary"),
        (b"\xff\xffa", ".md", "UTF-8"),
        (b"  \n", ".txt", "no text"),
        (b"<p></p>", ".htm", "no text"),
        (b"not a pdf", ".pdf", "not a PDF"),
        (b"x", ".odt", "not a format"),
        (b"x", "", "no suffix"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, suffix: str, reason: str) -> None:
    with pytest.raises(UnreadableDocumentError, match=reason):
        load_text(data, suffix)


def test_a_pdf_without_text_and_one_with_a_password_say_so() -> None:
    with pytest.raises(UnreadableDocumentError, match="OCR"):
        load_text(pdf_of(""), ".pdf")
    locked = pdf_of("Secret.", password="key")
    assert PdfReader(io.BytesIO(locked)).is_encrypted
    with pytest.raises(UnreadableDocumentError, match="encrypted"):
        load_text(locked, ".pdf")


@settings(max_examples=50)
@given(st.binary(max_size=200), st.sampled_from(sorted(LOADERS)))
def test_any_bytes_give_text_or_a_reason(data: bytes, suffix: str) -> None:
    with contextlib.suppress(UnreadableDocumentError):
        assert load_text(data, suffix).text.strip()


def test_a_table_keeps_its_cells_apart_and_its_row_on_one_line() -> None:
    page = b"<table><tr><th>Port</th><th>Use</th></tr><tr><td><p>8888</p></td><td>http<br>only</td></tr></table>"
    assert load_text(page, ".html").text == "| Port | Use |\n\n| 8888 | http only |"


@pytest.mark.parametrize("name", ["LICENSE", "LICENCE-MIT", "README", "COPYING", "Changelog", "AUTHORS"])
def test_a_document_without_a_suffix_is_known_by_its_name(name: str) -> None:
    assert format_of(name) == ".txt"


@pytest.mark.parametrize("name", ["sage", "core", "Makefile", "a.out", "LICENSE.bin", "install.sh"])
def test_other_names_are_no_documents(name: str) -> None:
    assert format_of(name) is None


def test_restructured_text_has_the_title_of_its_first_heading() -> None:
    text = b"=======\nA guide\n=======\n\nWords.\n\nPart\n----\n"
    assert load_text(text, ".rst") == LoadedText(text.decode(), "A guide")


@pytest.mark.parametrize("suffix", [".txt", ".md", ".rst", ".html"])
@pytest.mark.parametrize(
    "data", [b"words " * 2000 + b"\0", b"\x01\x02\x03words", bytes(range(32, 127)) * 4 + b"\x7f\x05\x06"]
)
def test_binary_content_is_refused_wherever_it_is(data: bytes, suffix: str) -> None:
    with pytest.raises(UnreadableDocumentError, match="binary"):
        load_text(data, suffix)


def test_the_text_of_markdown_begins_after_its_front_matter() -> None:
    assert first_line(b"---\na: 1\n---\ntext", ".md") == 4
    assert first_line(b"text", ".md") == first_line(b"---\na\n---\n", ".txt") == 1
