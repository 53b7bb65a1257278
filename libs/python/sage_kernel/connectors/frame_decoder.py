"""Frames of Arrow data, from Parquet files and messages, as records of a schema."""

from __future__ import annotations

import orjson
import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.connectors.conform import Conformer
from sage_kernel.connectors.isolation import KEPT_BYTES, BadRecord, Decoded

_SINGLES = 8


class FrameDecoder:
    """Casts frames, and finds the rows that do not fit."""

    def __init__(self, conformer: Conformer) -> None:
        self._conformer = conformer

    def decode(self, frame: pl.DataFrame) -> Decoded:
        """Return the rows that fit, and the others by their number.

        Raises:
            UnprocessableError: no row can fit, because of a field too many.
        """
        if self._conformer.extra == "fail":
            self._conformer.conform(frame.clear())
        try:
            return Decoded(self._checked(frame))
        except UnprocessableError:
            return self._isolate(frame)

    def _isolate(self, frame: pl.DataFrame) -> Decoded:
        kept: list[pl.DataFrame] = []
        bad: list[BadRecord] = []
        waiting = [(0, frame.height)]
        while waiting:
            first, end = waiting.pop()
            try:
                kept.append(self._checked(frame[first:end]))
            except UnprocessableError as error:
                if end - first <= 1:
                    bad.append(BadRecord(first, _as_json(frame[first:end]), error.message))
                    continue
                step = 1 if end - first <= _SINGLES else (end - first + 1) // 2
                waiting.extend((at, min(end, at + step)) for at in reversed(range(first, end, step)))
        frames = [piece for piece in kept if piece.height] or [pl.DataFrame(schema=self._conformer.schema)]
        return Decoded(pl.concat(frames, how="vertical"), bad)

    def _checked(self, frame: pl.DataFrame) -> pl.DataFrame:
        limit = self._conformer.max_record_bytes
        sizes = [
            column.str.len_bytes() if column.dtype == pl.String else column.bin.size()
            for column in frame.get_columns()
            if column.dtype in (pl.String, pl.Binary)
        ]
        # A column that stays below its share of the limit cannot take a record over it.
        if any(_greatest(size) * len(sizes) > limit for size in sizes):
            total = pl.DataFrame([size.alias(str(at)) for at, size in enumerate(sizes)]).sum_horizontal()
            longest = _greatest(total)
            if longest > limit:
                raise UnprocessableError(
                    f"it has {longest} bytes, over the limit of {limit}; raise 'max_record_bytes' or send a reference"
                )
        return self._conformer.conform(frame)


def _greatest(sizes: pl.Series) -> int:
    greatest = sizes.max()
    return greatest if isinstance(greatest, int) else 0


def _as_json(row: pl.DataFrame) -> bytes:
    record = next(row.iter_rows(named=True), {})
    short = {name: value[:KEPT_BYTES] if isinstance(value, str | bytes) else value for name, value in record.items()}
    return orjson.dumps(short, default=str)
