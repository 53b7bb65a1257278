"""Limits on what knowledge bases are asked, and given."""

from __future__ import annotations

from sage_common.errors import TooLargeError

DEFAULT_PASSAGES = 4
MOST_PASSAGES = 1000
# Of one answer, where no limit is given.
DEFAULT_PAGE_DOCUMENTS = 1000
MAX_DOCUMENT_BYTES = 32 * 1024 * 1024


def document_too_large(size: int) -> TooLargeError:
    """Return the error of a document over the limit.

    Args:
        size: bytes that it has at least.
    """
    return TooLargeError(
        f"the document has at least {size} bytes, the limit is {MAX_DOCUMENT_BYTES}; split it, or put it into a folder "
        "of the worker and ingest that"
    )
