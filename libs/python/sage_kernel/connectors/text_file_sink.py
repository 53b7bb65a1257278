"""Writing records to a text file: JSON Lines, or CSV with a header."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.connectors.json_encoder import to_json_lines
from sage_kernel.connectors.patience import Attempts
from sage_kernel.connectors.thread_lane import ThreadLane
from sage_kernel.connectors.unfinished_file import Segment, UnfinishedFile
from sage_kernel.operator import State

# Makes the text of records; the flag says whether they are the first ones of the file.
Encoder = Callable[[pl.DataFrame, bool], bytes]


class TextFileSink:
    """Writes to a file beside the wanted one, which appears when the run has succeeded, whole.

    A checkpoint holds what had been written; what came after it does not count when the run goes on from there.

    Args:
        beginning: what the file begins with where no record ever comes.
    """

    def __init__(self, file: UnfinishedFile, encode: Encoder, patience: Attempts, beginning: bytes = b"") -> None:
        self._file = file
        self._encode = encode
        self._patience = patience
        self._beginning = beginning
        self._lane = ThreadLane()

    async def write(self, frame: pl.DataFrame) -> None:
        """Write records. Raises UnprocessableError for one that has no form in the file, OSError from the disk."""
        text = self._encode(frame, self._file.length == 0)
        await self._patience.attempt(lambda: self._lane.call(self._file.append, text))

    async def flush(self) -> State:
        """Bring everything to the disk."""
        segments = await self._patience.attempt(lambda: self._lane.call(self._file.sync))
        return State({"segments": [list(segment) for segment in segments]})

    async def restore(self, state: State) -> None:
        """Go on behind what the checkpoint knows of."""
        segments: Any = state.values["segments"]
        await self._lane.call(self._file.restore, [Segment(str(name), int(length)) for name, length in segments])

    async def publish(self) -> None:
        """Put the file in its place."""
        if self._beginning and not self._file.length and not self._file.is_published:
            await self._patience.attempt(lambda: self._lane.call(self._file.append, self._beginning))
        await self._patience.attempt(lambda: self._lane.call(self._file.publish))

    async def close(self) -> None:
        """Close the file; one that no checkpoint knows of is removed."""
        await self._lane.close(self._file.close)


def encode_json(frame: pl.DataFrame, is_first: bool) -> bytes:
    """Return one JSON object a line."""
    return to_json_lines(frame)


def csv_encoder(delimiter: str) -> Encoder:
    """Return an encoder of rows, the first ones behind a header."""

    def encode(frame: pl.DataFrame, is_first: bool) -> bytes:
        nested = [column.name for column in frame.get_columns() if column.dtype.is_nested()]
        if nested:
            raise UnprocessableError(
                f"field {nested[0]!r} is a list or a record, which CSV has no form for; choose others with 'fields'"
            )
        binary = [column.name for column in frame.get_columns() if column.dtype == pl.Binary]
        buffer = io.BytesIO()
        frame.with_columns(pl.col(binary).bin.encode("base64")).write_csv(
            buffer, include_header=is_first, separator=delimiter, datetime_format="%Y-%m-%dT%H:%M:%S%.f%:z"
        )
        return buffer.getvalue()

    return encode
