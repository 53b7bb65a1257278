"""Records as JSON: one object a line, in the forms that sources read back."""

from __future__ import annotations

import io

import polars as pl

from sage_common.errors import UnprocessableError


def to_json_lines(frame: pl.DataFrame) -> bytes:
    """Return one line a record: timestamps as ISO 8601, bytes as base64, durations as microseconds, NaN as null.

    Raises:
        UnprocessableError: a field has no form in JSON.
    """
    if not frame.height:
        return b""
    if not frame.width:
        return b"{}\n" * frame.height
    buffer = io.BytesIO()
    _encodable(frame).write_ndjson(buffer)
    return buffer.getvalue()


def to_json_records(frame: pl.DataFrame) -> list[bytes]:
    """Return one JSON object a record. Raises as ``to_json_lines`` does."""
    return to_json_lines(frame).split(b"\n")[:-1]


def _encodable(frame: pl.DataFrame) -> pl.DataFrame:
    columns = []
    for column in frame.get_columns():
        if column.dtype == pl.Binary:
            column = column.bin.encode("base64")
        elif column.dtype == pl.Duration:
            column = column.cast(pl.Duration("us")).to_physical()
        elif _holds(column.dtype, (pl.Binary, pl.Object)):
            raise UnprocessableError(
                f"field {column.name!r} of type {column.dtype} has no form in JSON; choose others with 'fields'"
            )
        columns.append(column)
    return pl.DataFrame(columns)


def _holds(dtype: pl.DataType, kinds: tuple[type[pl.DataType], ...]) -> bool:
    if isinstance(dtype, pl.List | pl.Array):
        return _holds(dtype.inner, kinds)  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return any(_holds(inner.dtype, kinds) for inner in dtype.fields)  # type: ignore[arg-type]
    return isinstance(dtype, kinds)
