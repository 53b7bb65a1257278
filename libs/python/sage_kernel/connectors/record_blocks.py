"""Reading a file in blocks of whole records, in bounded memory however long a record is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

HEAD_BYTES = 4096


class Block(NamedTuple):
    """Whole records of a file.

    Attributes:
        start: offset of its first byte.
        data: its bytes; of a record that is too long only the beginning.
        end: offset behind it.
        is_too_long: it is one record, longer than the limit.
    """

    start: int
    data: bytes
    end: int
    is_too_long: bool = False


# Returns the length of the whole records at the beginning of some bytes, which begin with a record.
Boundary = Callable[[bytes], int]


def after_last_line(data: bytes) -> int:
    """Return the length of the whole lines at the beginning of ``data``."""
    return data.rfind(b"\n") + 1


def after_last_row(data: bytes) -> int:
    """Return the length of the whole CSV rows at the beginning of ``data``: a row ends outside quotes (RFC 4180)."""
    end = data.rfind(b"\n")
    inside = data.count(b'"', 0, end + 1) % 2
    while end >= 0 and inside:
        before = data.rfind(b"\n", 0, end)
        inside = (inside + data.count(b'"', before + 1, end + 1)) % 2
        end = before
    return end + 1


def read_blocks(
    file: IO[bytes], start: int, end: int | None, block_bytes: Callable[[], int], max_record: int, boundary: Boundary
) -> Iterator[Block]:
    """Yield the records of ``file`` that begin in ``[start, end)``, in order.

    A record beyond ``max_record`` bytes is given as its beginning, and the rest of its line is passed over.

    Args:
        start: where a record begins.
        end: None for the end of the file.
        block_bytes: how much to read at once; asked for each block.
    """
    file.seek(start)
    tail = b""
    at = start
    while end is None or at < end:
        wanted = max(block_bytes(), len(tail) + 1)
        if end is not None:
            # Not far beyond the end: only its last record goes on there.
            wanted = min(wanted, max(end - at, len(tail) + 65_536))
        fresh = file.read(wanted - len(tail))
        data = tail + fresh
        if not data:
            return
        limit = len(data) if end is None else min(len(data), end - at)
        cut = boundary(data if limit == len(data) else data[:limit])
        if not cut and limit < len(data):
            cut = data.find(b"\n") + 1  # the last record goes on behind the end
        if not fresh and not cut:
            cut = len(data)  # the last record has no line break
        if cut:
            yield Block(at, data[:cut], at + cut)
            at, tail = at + cut, data[cut:]
        elif len(data) > max_record:
            block = _pass_over(file, at, data)
            yield block
            at, tail = block.end, b""
            file.seek(at)
        else:
            tail = data


def _pass_over(file: IO[bytes], at: int, data: bytes) -> Block:
    head, end = data[:HEAD_BYTES], at
    while data:
        line_end = data.find(b"\n")
        if line_end >= 0:
            return Block(at, head, end + line_end + 1, is_too_long=True)
        end += len(data)
        data = file.read(1 << 20)
    return Block(at, head, end, is_too_long=True)


def first_record_from(file: IO[bytes], start: int) -> int:
    """Return where the first line begins at or behind ``start``: the lines before belong to whoever reads before."""
    if start == 0:
        return 0
    file.seek(start - 1)
    at = start - 1
    while chunk := file.read(1 << 16):
        line_end = chunk.find(b"\n")
        if line_end >= 0:
            return at + line_end + 1
        at += len(chunk)
    return at


def has_long_line(block: bytes, limit: int) -> bool:
    """Return whether a line may be longer than ``limit``; False is certain. Looks at a few places of ``block`` only."""
    if len(block) <= limit:
        return False
    # A line beyond the limit covers at least one of these windows whole.
    step = max(1, limit // 2)
    return any(block.find(b"\n", at, at + step) < 0 for at in range(0, len(block), step) if at + step <= len(block))
