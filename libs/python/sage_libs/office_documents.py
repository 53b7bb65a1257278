"""Reading the text out of office files and tables, as Markdown with its headings, through markitdown (an extra)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

from sage_common.errors import UnprocessableError, describe

EXTRA = "pip install 'sage-mesh[office]'"

_CONVERTERS = {
    ".docx": "DocxConverter",
    ".pptx": "PptxConverter",
    ".xlsx": "XlsxConverter",
    ".csv": "CsvConverter",
}
# How encrypted files begin, and those of before 2007.
_OLE = b"\xd0\xcf\x11\xe0"
_TITLE = re.compile(r"^#\s+(.+?)\s*$", re.MULTILINE)
# What markitdown writes between the slides of a presentation.
_COMMENT = re.compile(r"<!--.*?-->\s*", re.DOTALL)


def office_text(data: bytes, suffix: str, refusal: Callable[[str], UnprocessableError]) -> tuple[str, str]:
    """Return the text of a file, and the first heading of level one (empty where there is none).

    Args:
        suffix: ``.docx``, ``.pptx``, ``.xlsx`` or ``.csv``.
        refusal: makes the error that is raised, from the reason.
    """
    try:
        from markitdown import StreamInfo, converters
    except ImportError:
        raise refusal(f"{suffix} needs {EXTRA}") from None
    # MarkItDown itself would try one format after the other, and give a damaged file out as text.
    converter = getattr(converters, _CONVERTERS[suffix])()
    if data.startswith(_OLE):
        raise refusal("it is encrypted or of the old binary format; save a copy without password in the new one")
    try:
        text = converter.convert(io.BytesIO(data), StreamInfo(extension=suffix, charset="utf-8")).markdown
    # Each format has a library of its own behind it, and a damaged file makes them raise nearly any error.
    except Exception as error:
        reason = " ".join(describe(error).split())[:200]
        raise refusal(f"it is not a {suffix} file that can be read: {reason}") from error
    text = _COMMENT.sub("", text)
    title = _TITLE.search(text)
    return text, title[1] if title else ""
