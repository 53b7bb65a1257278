"""Taking long base64 texts out of a body, and putting them back.

What is left is JSON with a mark in place of each, which is read, scheduled and continued as any other body: nobody but
an engine looks at what an image is. A mark says where its text is in the object that all of them are joined in. The
object's id is as good as a secret, so that a caller cannot have marks of its own taken for such.
"""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from sage_common.errors import EngineFailedError

# Shorter ones stay: each that is taken out costs as much as what is gained by it.
LEAST_PART_BYTES: Final = 64 * 1024
# A JSON string of base64, after the head of a data URL (RFC 2397) where there is one. Slashes may be escaped.
_PART: Final = re.compile(
    rb'"((?:data:[A-Za-z0-9+.;=/\\_-]{1,200},)?[A-Za-z0-9+/=\\_-]{%d,})(?<!\\)"' % LEAST_PART_BYTES
)


class BodyParts(NamedTuple):
    """What was taken out of a body, joined, and the id that its marks hold."""

    object_id: str
    data: bytes

    def put_back(self, body: bytes) -> bytes:
        """Return a body with its parts in place of their marks. Raises EngineFailedError for marks outside of them."""

        def part(found: re.Match[bytes]) -> bytes:
            begin, end = int(found[1]), int(found[2])
            if not begin <= end <= len(self.data):
                raise EngineFailedError(
                    "a part of the body was lost on its way; send the request again", retryable=True
                )
            return self.data[begin:end]

        return re.sub(rb"%s:(\d{1,10}):(\d{1,10})" % re.escape(self.object_id.encode()), part, body)


def split_body(body: bytes) -> tuple[bytes, BodyParts] | None:
    """Return a body with marks for its long base64 texts, and those; None where it has none."""
    object_id = f"body-{os.urandom(16).hex()}"
    parts: list[bytes] = []
    size = 0

    def mark(found: re.Match[bytes]) -> bytes:
        nonlocal size
        part = found[1]
        parts.append(part)
        size += len(part)
        return b'"%s:%d:%d"' % (object_id.encode(), size - len(part), size)

    marked = _PART.sub(mark, body)
    return (marked, BodyParts(object_id, b"".join(parts))) if parts else None
