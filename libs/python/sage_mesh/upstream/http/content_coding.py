"""Bodies that a server has compressed, though it was asked for them as they are (RFC 9110 §8.4)."""

from __future__ import annotations

import zlib
from typing import Final

from sage_mesh.upstream.http.http_error import HttpError

IDENTITY: Final = b"identity"
# What is decoded at once: a few bytes may stand for a thousand times as many.
STEP_BYTES: Final = 1024 * 1024
# Window bits by which zlib finds out itself whether gzip's header or its own precedes the data.
_ANY_HEADER: Final = 32 + zlib.MAX_WBITS
_KNOWN: Final = (b"gzip", b"x-gzip", b"deflate")


class ContentDecoder:
    """Decodes one body, a step at a time.

    Raises:
        HttpError: the coding is not known here.
    """

    def __init__(self, coding: bytes) -> None:
        if coding not in _KNOWN:
            shown = coding[:40].decode("latin-1")
            raise HttpError(f"the answer is coded as {shown!r}, which was not asked for and is not known here")
        self._coding = coding
        self._zlib = zlib.decompressobj(_ANY_HEADER)
        self._begun = False
        self._left = b""

    @property
    def has_more(self) -> bool:
        """Whether ``step`` may give more without more input."""
        return bool(self._left)

    def step(self, data: bytes = b"") -> bytes:
        """Take ``data``; return what it and what was left stand for, at most ``STEP_BYTES``.

        Raises:
            HttpError: it is not coded as the server says.
        """
        data = self._left + data
        self._left = b""
        if not data:
            return b""
        if not self._begun:
            self._begun = True
            # Some servers send deflate without the header that it should have; one has 8 in the low bits of a byte.
            if self._coding == b"deflate" and data[0] & 0x0F != 8:
                self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
        decoded = b""
        try:
            if self._zlib.eof:
                # A gzip body may have several members.
                data, self._zlib = data, zlib.decompressobj(_ANY_HEADER)
            decoded = self._zlib.decompress(data, STEP_BYTES)
        except zlib.error as error:
            raise HttpError(f"the answer is not coded as {self._coding.decode()}, as it says: {error}") from None
        self._left = self._zlib.unconsumed_tail or self._zlib.unused_data
        return decoded

    def check_end(self) -> None:
        """Check that the body was whole. Raises HttpError where it was not."""
        if self._begun and not self._zlib.eof:
            raise HttpError(f"the answer ends in the middle of its {self._coding.decode()}")
