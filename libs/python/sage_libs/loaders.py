"""Reading the text out of a document: bytes in, text out. One function a format, found by the file's suffix."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import PurePath
from typing import NamedTuple

from sage_common.errors import UnprocessableError, describe
from sage_libs.office_documents import office_text
from sage_libs.pdf_documents import docling_is_installed, docling_text

_BLOCK_TAGS = (
    "address", "article", "aside", "blockquote", "caption", "dd", "details", "div", "dl", "dt", "figcaption",
    "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre",
    "section", "summary", "table", "title", "tr", "ul",
)  # fmt: skip
_UNREAD_TAGS = ("script", "style", "noscript", "template", "svg", "nav", "head", "iframe")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MARKDOWN_TITLE = re.compile(r"^#\s+(.+?)\s*#*$", re.MULTILINE)
_RST_TITLE = re.compile(r"^(\S[^\n]*)\n([=\-~#*^\"'`+])\2{2,}[ \t]*$", re.MULTILINE)
_DOCUMENT_NAME = re.compile(
    r"(?:acknowledge?ments|authors|changelog|changes|code_of_conduct|contributing|contributors|copying|copyright|"
    r"governance|history|install|licen[cs]e|maintainers|news|notice|patents|readme|security|thanks|todo|unlicense)"
    r"(?:[-_][A-Za-z0-9_-]+)?\Z",
    re.IGNORECASE,
)
# Bytes of no text, in any encoding that has ASCII in it: all below space but tab, line ends, form feed and escape.
_CONTROL_BYTES = tuple(bytes([code]) for code in range(1, 32) if code not in b"\t\n\v\f\r\x1b\b")
_MOST_CONTROL = 0.002
_FRONT_MATTER = re.compile(r"\A---\n.*?\n(?:---|\.\.\.)\n", re.DOTALL)


class LoadedText(NamedTuple):
    """The text of a document.

    Attributes:
        title: empty where it has none.
        is_markdown: whether it is Markdown although its suffix does not say so.
    """

    text: str
    title: str
    is_markdown: bool = False


class UnreadableDocumentError(UnprocessableError):
    """A document holds no text that a loader can read; the message is the reason, without the document's name."""

    default_code = "unreadable_document"


def load_text(data: bytes, suffix: str) -> LoadedText:
    """Return the text of a document.

    Args:
        data: the whole file.
        suffix: the file's suffix with its dot, in any case; one of ``LOADERS``.

    Raises:
        UnreadableDocumentError: unknown suffix, binary or damaged content, or no text in it.
    """
    loader = LOADERS.get(suffix.lower())
    if loader is None:
        raise UnreadableDocumentError(f"{suffix or 'no suffix'} is not a format that is read ({', '.join(LOADERS)})")
    loaded = loader(data)
    if not loaded.text.strip():
        raise UnreadableDocumentError("it holds no text")
    return loaded


def load_plain(data: bytes) -> LoadedText:
    """Read plain text: UTF-8, or what a byte order mark says."""
    return LoadedText(_decode(data), "")


def load_markdown(data: bytes) -> LoadedText:
    """Read Markdown as it is written, without front matter. The title is the first heading of level one."""
    text = _FRONT_MATTER.sub("", _decode(data), count=1)
    title = _MARKDOWN_TITLE.search(text)
    return LoadedText(text, title[1] if title else "")


def load_rst(data: bytes) -> LoadedText:
    """Read reStructuredText as it is written. The title is the first underlined line."""
    text = _decode(data)
    title = _RST_TITLE.search(text)
    return LoadedText(text, title[1].strip() if title else "")


def load_html(data: bytes) -> LoadedText:
    """Read what a page shows: no scripts, styles or navigation, one paragraph for each block."""
    from bs4 import BeautifulSoup

    if not data.startswith(tuple(mark for mark, _ in _BYTE_ORDER_MARKS)):
        _refuse_binary(data)
    soup = BeautifulSoup(data, "html.parser")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    for tag in soup(list(_UNREAD_TAGS)):
        tag.decompose()
    for cell in soup.find_all(["td", "th"]):
        # A row is one line, and its cells stay apart: a number must not run into the next.
        if cell.find("table") is None:
            cell.string = f" | {' '.join(cell.get_text(' ').split())}"
            if cell.find_next_sibling(["td", "th"]) is None:
                cell.append(" |")
    for tag in soup.find_all("br"):
        tag.replace_with("\n")
    for tag in soup.find_all(list(_BLOCK_TAGS)):
        tag.insert_before("\n\n")
        tag.insert_after("\n\n")
    lines = (" ".join(line.split()) for line in soup.get_text().splitlines())
    return LoadedText(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip(), title)


def load_pdf(data: bytes) -> LoadedText:
    """Read a PDF, pages parted by form feeds: through docling where that is installed, else its text layer."""
    if docling_is_installed():
        # Its models may not be there, and every one of its libraries has errors of its own. Then the text layer is
        # read, or the reader of that says what is wrong with the file.
        with suppress(Exception):
            text, title = docling_text(data)
            if text.strip():
                return LoadedText(text, title, is_markdown=True)
    return _text_layer(data)


def _text_layer(data: bytes) -> LoadedText:
    from pypdf import PdfReader

    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableDocumentError("it is encrypted; save a copy without its password")
        text = "\f".join(page.extract_text() for page in reader.pages)
        title = str((reader.metadata and reader.metadata.title) or "")
    except UnreadableDocumentError:
        raise
    # A damaged PDF makes pypdf raise nearly any error, so all of them mean that this one file cannot be read.
    except Exception as error:
        raise UnreadableDocumentError(f"it is not a PDF that can be read: {describe(error)}") from error
    if not text.strip():
        raise UnreadableDocumentError("its pages hold no text (scanned pages need OCR first)")
    return LoadedText(text, title)


def first_line(data: bytes, suffix: str) -> int:
    """Return the number of the line of a document, from 1, with which the text that ``load_text`` returns begins."""
    front = _FRONT_MATTER.match(_decode(data)) if LOADERS.get(suffix.lower()) is load_markdown else None
    return 1 + front[0].count("\n") if front else 1


def format_of(name: str) -> str | None:
    """Return the key of the loader for a file's name, or None where there is none.

    A document without a suffix has one by its name: ``LICENSE``, ``README``, ``COPYING`` and their like are plain text.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix in LOADERS:
        return suffix
    return ".txt" if _DOCUMENT_NAME.match(name) else None


def _load_office(data: bytes, *, suffix: str) -> LoadedText:
    return LoadedText(*office_text(data, suffix, UnreadableDocumentError))


LOADERS: Mapping[str, Callable[[bytes], LoadedText]] = {
    ".md": load_markdown,
    ".markdown": load_markdown,
    ".rst": load_rst,
    ".txt": load_plain,
    ".html": load_html,
    ".htm": load_html,
    ".pdf": load_pdf,
    **{suffix: partial(_load_office, suffix=suffix) for suffix in (".docx", ".pptx", ".xlsx", ".csv")},
}


def _refuse_binary(data: bytes) -> None:
    marks = sum(data.count(mark) for mark in _CONTROL_BYTES)
    if b"\0" in data or marks > _MOST_CONTROL * len(data):
        raise UnreadableDocumentError("its content is binary, not text")


def _decode(data: bytes) -> str:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    if encoding == "utf-8":
        _refuse_binary(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableDocumentError(
            f"it is not {encoding.upper()} text (byte {error.start}); save it as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
