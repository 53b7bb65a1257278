"""Reading the text out of a document: bytes in, text out. One function a format, found by the file's suffix."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sage_common.errors import UnprocessableError

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
_FRONT_MATTER = re.compile(r"\A---\n.*?\n(?:---|\.\.\.)\n", re.DOTALL)


class LoadedText(NamedTuple):
    """The text of a document, and its title (empty where it has none)."""

    text: str
    title: str


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


def load_html(data: bytes) -> LoadedText:
    """Read what a page shows: no scripts, styles or navigation, one paragraph for each block."""
    from bs4 import BeautifulSoup

    if b"\0" in data[:8192] and not data.startswith(tuple(mark for mark, _ in _BYTE_ORDER_MARKS)):
        raise UnreadableDocumentError("its content is binary, not text")
    soup = BeautifulSoup(data, "html.parser")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    for tag in soup(list(_UNREAD_TAGS)):
        tag.decompose()
    for tag in soup.find_all("br"):
        tag.replace_with("\n")
    for tag in soup.find_all(list(_BLOCK_TAGS)):
        tag.insert_before("\n\n")
        tag.insert_after("\n\n")
    for tag in soup.find_all(["td", "th"]):
        tag.insert_after(" ")
    lines = (" ".join(line.split()) for line in soup.get_text().splitlines())
    return LoadedText(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip(), title)


def load_pdf(data: bytes) -> LoadedText:
    """Read the text layer of a PDF, pages parted by form feeds."""
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
        raise UnreadableDocumentError(f"it is not a PDF that can be read: {error or type(error).__name__}") from error
    if not text.strip():
        raise UnreadableDocumentError("its pages hold no text (scanned pages need OCR first)")
    return LoadedText(text, title)


LOADERS: Mapping[str, Callable[[bytes], LoadedText]] = {
    ".md": load_markdown,
    ".markdown": load_markdown,
    ".txt": load_plain,
    ".html": load_html,
    ".htm": load_html,
    ".pdf": load_pdf,
}


def _decode(data: bytes) -> str:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data[:8192]:
        raise UnreadableDocumentError("its content is binary, not text")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableDocumentError(
            f"it is not {encoding.upper()} text (byte {error.start}); save it as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
