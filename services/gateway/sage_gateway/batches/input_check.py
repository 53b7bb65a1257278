"""Whether a batch's file can be run: read once from end to end before its first request is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import numpy as np

from sage_common.labels import MAX_MODEL_CHARACTERS, is_label
from sage_gateway.batches.batch_document import BatchError
from sage_gateway.batches.batch_lines import BrokenLineError, FileLine, read_line

# Between two turns of the event loop; a chunk may hold thousands of lines.
_LINES_IN_TURN = 256
# So many custom ids that appear twice are named.
MOST_NAMED = 20

Lines = Callable[[], AsyncIterator[FileLine]]


@dataclass(frozen=True, slots=True)
class CheckedInput:
    """What a file holds: lines that are not blank, the model of the first request, and why it cannot be run."""

    total: int
    model: str | None
    errors: tuple[BatchError, ...]


async def check_input(lines: Lines, endpoint: str, *, max_requests: int, max_line_bytes: int) -> CheckedInput:
    """Read a file. Lines that are no requests fail by themselves later; only their number is counted here.

    Of each custom id eight bytes are kept, so that a million of them take 8 MB; where two have the same eight bytes the
    file is read once more, for the ids themselves.
    """
    digests = bytearray()
    total = 0
    model: str | None = None
    async for line in lines():
        total += 1
        if total % _LINES_IN_TURN == 0:
            await asyncio.sleep(0)
        if total > max_requests:
            message = (
                f"the file has more than {max_requests} requests; make several batches of it, or raise "
                "SAGE_GATEWAY_MAX_BATCH_REQUESTS"
            )
            return CheckedInput(total, model, (BatchError("too_many_requests", message, "input_file_id"),))
        custom_id = _custom_id(line, endpoint, max_line_bytes)
        if custom_id is not None:
            digests += _digest(custom_id[0])
            model = model or custom_id[1]
    if not total:
        empty = BatchError("empty_file", "the file has no requests; write one a line, as JSON", "input_file_id")
        return CheckedInput(0, None, (empty,))
    repeated = _repeated(digests)
    errors = await _name_repeated(lines, endpoint, repeated, max_line_bytes) if repeated else ()
    return CheckedInput(total, model, errors)


def _custom_id(line: FileLine, endpoint: str, max_line_bytes: int) -> tuple[str, str | None] | None:
    """Return the custom id of a line and the model that it asks for; None where it has no custom id."""
    try:
        request = read_line(line, endpoint, max_line_bytes)
    except BrokenLineError as error:
        return None if error.custom_id is None else (error.custom_id, None)
    asked = request.body.get("model")
    return request.custom_id, asked if isinstance(asked, str) and is_label(asked, MAX_MODEL_CHARACTERS) else None


def _digest(custom_id: str) -> bytes:
    return hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _repeated(digests: bytearray) -> frozenset[bytes]:
    """Return the digests that are there more than once."""
    values = np.sort(np.frombuffer(digests, dtype="<u8"))
    again = np.unique(values[1:][values[1:] == values[:-1]])
    return frozenset(bytes(value.tobytes()) for value in again)


async def _name_repeated(
    lines: Lines, endpoint: str, repeated: frozenset[bytes], max_line_bytes: int
) -> tuple[BatchError, ...]:
    first_lines: dict[str, int] = {}
    errors: list[BatchError] = []
    async for line in lines():
        found = _custom_id(line, endpoint, max_line_bytes)
        if found is None or _digest(found[0]) not in repeated:
            continue
        custom_id = found[0]
        first = first_lines.setdefault(custom_id, line.number)
        if first != line.number:
            message = f"the custom_id {custom_id[:80]!r} is that of line {first} already; each must be its own"
            errors.append(BatchError("duplicate_custom_id", message, "custom_id", line.number))
            if len(errors) == MOST_NAMED:
                break
    return tuple(errors)
