"""Reading PDFs as Markdown with their headings and tables, through docling (an extra)."""

from __future__ import annotations

import io
import re
from functools import cache
from importlib.util import find_spec
from typing import Any

EXTRA = "pip install 'sage-mesh[docling]'"

_TITLE = re.compile(r"^#{1,2}[ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
# What docling writes where an image was.
_IMAGE = re.compile(r"^<!-- image -->\n*", re.MULTILINE)


def docling_is_installed() -> bool:
    """Whether PDFs are read by docling. Nothing is imported, which would take seconds."""
    return find_spec("docling") is not None


def docling_text(data: bytes) -> tuple[str, str]:
    """Return the text of a PDF in Markdown, pages parted by form feeds, and its first heading.

    That is empty where it has none. The first call of a process loads docling's models, which docling fetches where
    ``DOCLING_ARTIFACTS_PATH`` does not name a folder with them.

    Raises:
        Exception: whatever docling or a library below it raises for a file that it cannot read.
    """
    from docling.datamodel.base_models import DocumentStream

    converted = _converter().convert(DocumentStream(name="document.pdf", stream=io.BytesIO(data)))
    document = converted.document
    # Page by page: docling's own marks between pages leave out those on which it finds nothing.
    numbers = range(1, max(document.pages, default=0) + 1)
    pages = (document.export_to_markdown(page_no=number, escape_html=False) for number in numbers)
    # A page begins a line, so that a heading at its top is one.
    text = "\f\n".join(_IMAGE.sub("", page) for page in pages)
    title = _TITLE.search(text)
    return text, title[1] if title else ""


@cache
def _converter() -> Any:
    from docling.datamodel.base_models import InputFormat
    from docling.document_converter import DocumentConverter

    return DocumentConverter(allowed_formats=[InputFormat.PDF])
