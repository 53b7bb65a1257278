"""Records in messages: one JSON object, a JSON array of them, or Arrow batches (IPC), told apart message by message."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import orjson
import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.connectors.conform import Conformer
from sage_kernel.connectors.frame_decoder import FrameDecoder
from sage_kernel.connectors.isolation import BadRecord, Decoded
from sage_kernel.connectors.json_decoder import JsonDecoder
from sage_kernel.connectors.stream_reader import StreamMessage

CONTENT_TYPE = "Content-Type"
ARROW_STREAM = "application/vnd.apache.arrow.stream"
ARROW_FILE = "application/vnd.apache.arrow.file"

_Kind: TypeAlias = Literal["object", "array", "arrow"]


class MessageDecoder:
    """Decodes messages, many at a time."""

    def __init__(self, conformer: Conformer) -> None:
        self._json = JsonDecoder(conformer)
        self._frames = FrameDecoder(conformer)
        self._empty = pl.DataFrame(schema=conformer.schema)

    def decode(self, messages: Sequence[StreamMessage]) -> Decoded:
        """Return the records in their order. The number of a bad one is that of its message."""
        frames: list[pl.DataFrame] = []
        bad: list[BadRecord] = []
        for first, kind, run in _runs(messages):
            if kind == "object":
                decoded = self._json.decode_records([message.data for message in run])
            else:
                decoded = self._arrays(run) if kind == "array" else self._arrow(run)
            bad += [record._replace(number=first + record.number) for record in decoded.bad]
            if decoded.frame.height:
                frames.append(decoded.frame)
        if len(frames) == 1:
            return Decoded(frames[0], bad)
        return Decoded(pl.concat(frames, how="vertical") if frames else self._empty, bad)

    def _arrays(self, messages: Sequence[StreamMessage]) -> Decoded:
        lines: list[bytes] = []
        owners: list[int] = []
        bad: list[BadRecord] = []
        for index, message in enumerate(messages):
            try:
                records = orjson.loads(message.data)
            except orjson.JSONDecodeError as error:
                bad.append(BadRecord(index, message.data, f"it is not JSON ({error}); write an array of objects"))
                continue
            lines.extend(orjson.dumps(record) for record in records)
            owners.extend([index] * len(records))
        if not lines:
            return Decoded(self._empty, bad)
        decoded = self._json.decode_records(lines)
        return Decoded(
            decoded.frame, [*bad, *(record._replace(number=owners[record.number]) for record in decoded.bad)]
        )

    def _arrow(self, messages: Sequence[StreamMessage]) -> Decoded:
        frames: list[pl.DataFrame] = []
        bad: list[BadRecord] = []
        groups: list[tuple[pl.Schema, list[pl.DataFrame], list[int]]] = []
        for index, message in enumerate(messages):
            try:
                frame = read_arrow(message.data)
            except UnprocessableError as error:
                bad.append(BadRecord(index, message.data[:64], error.message))
                continue
            if groups and groups[-1][0] == frame.schema:
                groups[-1][1].append(frame)
                groups[-1][2].append(index)
            else:
                groups.append((frame.schema, [frame], [index]))
        for _, pieces, owners in groups:
            try:
                decoded = self._frames.decode(pl.concat(pieces, how="vertical") if len(pieces) > 1 else pieces[0])
            except UnprocessableError as error:
                bad += [BadRecord(owner, b"", error.message) for owner in owners]
                continue
            ends = [0]
            for piece in pieces:
                ends.append(ends[-1] + piece.height)
            for record in decoded.bad:
                at = next(number for number, end in enumerate(ends[1:]) if record.number < end)
                bad.append(record._replace(number=owners[at]))
            frames.append(decoded.frame)
        return Decoded(pl.concat(frames, how="vertical") if frames else self._empty, bad)


def read_arrow(data: bytes) -> pl.DataFrame:
    """Return the records of Arrow IPC data, a stream or a file. Raises UnprocessableError where it is none."""
    try:
        if data.startswith(b"ARROW1"):
            return pl.read_ipc(io.BytesIO(data))
        return pl.read_ipc_stream(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError, ValueError, pl.exceptions.PanicException) as error:
        raise UnprocessableError(f"it is no Arrow IPC data ({' '.join(str(error).split())[:160]})") from None


def _runs(messages: Sequence[StreamMessage]) -> Iterator[tuple[int, _Kind, Sequence[StreamMessage]]]:
    """Yield messages of one kind that follow each other, with the index of the first."""
    first = 0
    kind: _Kind | None = None
    for index, message in enumerate(messages):
        this = _kind_of(message)
        if this != kind:
            if kind is not None:
                yield first, kind, messages[first:index]
            first, kind = index, this
    if kind is not None:
        yield first, kind, messages[first:]


def holds_one_record(message: StreamMessage) -> bool:
    """Return whether a message is of the kind that holds a single record."""
    return _kind_of(message) == "object"


def _kind_of(message: StreamMessage) -> _Kind:
    if message.headers is not None and CONTENT_TYPE in message.headers:
        stated = message.headers[CONTENT_TYPE].partition(";")[0].strip().lower()
        if stated in (ARROW_STREAM, ARROW_FILE):
            return "arrow"
    start = message.data[:6]
    if start[:1] == b"{":
        return "object"
    # A continuation marker and the length of the schema, or the magic number of a file.
    if start[:4] == b"\xff\xff\xff\xff" or start == b"ARROW1":
        return "arrow"
    return "array" if start[:1] == b"[" or message.data[:64].lstrip()[:1] == b"[" else "object"
