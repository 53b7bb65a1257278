"""Frames that carry data and its tokens alone, as most frames of a stream do, written as protobuf would write them.

All of one attempt begin with the same bytes, which are serialised once: a frame takes a fifth of what a message object
would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sage.inference.v1 import frame_pb2
from sage_platform.protobuf_framing import varint

# The tags of ``seq``, a number, and of ``data`` and the packed ``token_ids``, bytes after their length.
_SEQ: Final = b"\x18"
_DATA: Final = b"\x22"
_TOKEN_IDS: Final = b"\x4a"


class DataFrames:
    """Writes the data frames of one attempt.

    Args:
        request_id: the request answered.
        attempt: the try that answers.
    """

    __slots__ = ("_start",)

    def __init__(self, request_id: str, attempt: frame_pb2.Attempt) -> None:
        self._start = frame_pb2.Frame(request_id=request_id, attempt=attempt).SerializeToString() + _SEQ

    def write(self, seq: int, data: bytes, token_ids: Sequence[int] = ()) -> bytes:
        """Return the serialised frame.

        Args:
            seq: position within the attempt, from 1: protobuf leaves a zero out.
            data: not empty.
        """
        if not token_ids:
            return b"".join((self._start, varint(seq), _DATA, varint(len(data)), data))
        ids = b"".join(map(varint, token_ids))
        return b"".join((self._start, varint(seq), _DATA, varint(len(data)), data, _TOKEN_IDS, varint(len(ids)), ids))
