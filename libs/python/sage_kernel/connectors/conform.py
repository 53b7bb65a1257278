"""Making records of outside data fit the schema that a source states."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Literal, TypeAlias

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.connectors.timestamps import EpochUnit, in_range, parse_epoch, parse_text
from sage_kernel.schema import TIMESTAMP, write_type

Extra: TypeAlias = Literal["drop", "fail"]


class Conformer:
    """Casts columns to the types of a schema.

    Args:
        schema: fields with the types that leave the source.
        epoch: the unit of timestamps that are numbers; None takes ISO 8601 text only.
        extra: what becomes of a field that the schema lacks.
        max_record_bytes: a longer record is refused, by the decoders that know its length.
    """

    def __init__(
        self,
        schema: Mapping[str, pl.DataType],
        epoch: EpochUnit | None = None,
        extra: Extra = "drop",
        max_record_bytes: int = 512 * 1024,
    ) -> None:
        self.schema = dict(schema)
        self.extra = extra
        self.max_record_bytes = max_record_bytes
        self._epoch = epoch
        self.text_types = {name: self._text_type(dtype) for name, dtype in schema.items()}
        """Types in which a parser of text (JSON, CSV) reads the fields, before ``conform``."""

    def _text_type(self, dtype: pl.DataType) -> pl.DataType:
        if isinstance(dtype, pl.Datetime) and self._epoch is not None:
            # Seconds may have a fraction.
            return pl.Float64() if self._epoch == "s" else pl.Int64()
        if isinstance(dtype, pl.Datetime | pl.Date | pl.Duration | pl.Binary):
            return pl.String()
        if isinstance(dtype, pl.List | pl.Array):
            return pl.List(self._text_type(dtype.inner))  # type: ignore[arg-type]
        if isinstance(dtype, pl.Struct):
            return pl.Struct({f.name: self._text_type(f.dtype) for f in dtype.fields})  # type: ignore[arg-type]
        return dtype

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return ``frame`` with the fields of the schema, in its order; a field that it lacks is null.

        Raises:
            UnprocessableError: a value does not fit, or there is a field too many with ``extra: fail``.
        """
        if self.extra == "fail" and (unknown := [name for name in frame.columns if name not in self.schema]):
            raise unknown_field(unknown[0])
        columns = []
        for name, dtype in self.schema.items():
            if name not in frame.columns:
                columns.append(pl.Series(name, [None], dtype=dtype).new_from_index(0, frame.height))
                continue
            column = frame.get_column(name)
            try:
                columns.append(self._cast(column, dtype).alias(name))
            except UnprocessableError as error:
                raise UnprocessableError(f"field {name!r}: {error.message}") from None
            except (pl.exceptions.PolarsError, ValueError) as error:
                message = f"field {name!r} is {write_type(column.dtype)!r}, not {write_type(dtype)!r}"
                raise UnprocessableError(f"{message}: {' '.join(str(error).split())[:160]}") from None
        return pl.DataFrame(columns)

    def _cast(self, column: pl.Series, dtype: pl.DataType) -> pl.Series:
        if isinstance(dtype, pl.Datetime):
            return self._timestamp(column)
        if column.dtype == dtype:
            return column
        if isinstance(dtype, pl.Date | pl.Duration | pl.Binary) and column.dtype == pl.String:
            return _of_text(column, dtype)
        if isinstance(dtype, pl.List | pl.Array) and isinstance(column.dtype, pl.List | pl.Array):
            return self._list(column, dtype)
        if isinstance(dtype, pl.Struct) and isinstance(column.dtype, pl.Struct):
            return self._struct(column, dtype)
        return column.cast(dtype, strict=True)

    def _timestamp(self, column: pl.Series) -> pl.Series:
        if isinstance(column.dtype, pl.Datetime):
            if column.dtype.time_zone is None:
                column = column.dt.replace_time_zone("UTC")
            return in_range(column if column.dtype == TIMESTAMP else column.cast(TIMESTAMP))
        if column.dtype == pl.String and (self._epoch is None or column.null_count() == len(column)):
            return parse_text(column)
        if column.dtype == pl.Date:
            return in_range(column.cast(TIMESTAMP))
        if column.dtype == pl.Null:
            return column.cast(TIMESTAMP)
        if self._epoch is None or not column.dtype.is_numeric():
            raise UnprocessableError(
                f"{write_type(column.dtype)!r} is no timestamp; state the unit of numbers as 'epoch: ms'"
            )
        return parse_epoch(column, self._epoch)

    def _list(self, column: pl.Series, dtype: pl.List | pl.Array) -> pl.Series:
        inner: pl.DataType = dtype.inner  # type: ignore[assignment]
        lists = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
        lengths = lists.list.len()
        items = self._cast(lists.filter(lengths.fill_null(0) > 0).explode(), inner)
        # Put the items back where they came from: their rows, in order.
        rows = pl.int_range(len(lists), eager=True, dtype=pl.UInt32).repeat_by(lengths.fill_null(0)).explode()
        rows = rows.drop_nulls()
        grouped = pl.DataFrame({"row": rows, "item": items}).group_by("row", maintain_order=True).agg("item")
        whole = pl.DataFrame({"row": pl.int_range(len(lists), eager=True, dtype=pl.UInt32), "length": lengths})
        joined = whole.join(grouped, on="row", how="left", maintain_order="left")
        filled = joined.select(
            pl.when(pl.col("length").is_null())
            .then(None)
            .otherwise(pl.col("item").fill_null(pl.lit([], dtype=pl.List(inner))))
            .alias(column.name)
        ).to_series()
        if isinstance(dtype, pl.Array):
            wrong = lengths.drop_nulls().filter(lengths.drop_nulls() != dtype.size)
            if len(wrong):
                raise UnprocessableError(f"a vector has {wrong[0]} numbers, not {dtype.size}")
            return filled.cast(dtype)
        return filled

    def _struct(self, column: pl.Series, dtype: pl.Struct) -> pl.Series:
        inside = column.struct.unnest()
        nested = {f.name: f.dtype for f in dtype.fields}
        fields = [
            self._cast(inside.get_column(name), inner).alias(name)  # type: ignore[arg-type]
            if name in inside.columns
            else pl.Series(name, [None] * len(column), dtype=inner)
            for name, inner in nested.items()
        ]
        made = pl.DataFrame(fields).to_struct(column.name)
        if not column.null_count():
            return made
        return made.zip_with(column.is_not_null(), pl.Series([None] * len(column), dtype=made.dtype))


def unknown_field(name: str) -> UnprocessableError:
    """Return the error of a field that a schema lacks."""
    return UnprocessableError(f"field {name[:80]!r} is not in the schema; add it there or set 'extra: drop'")


def _of_text(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    if isinstance(dtype, pl.Date):
        return column.str.to_date("%Y-%m-%d", strict=True)
    if isinstance(dtype, pl.Binary):
        return pl.Series([None if text is None else _bytes(text) for text in column], dtype=pl.Binary)
    return column.cast(pl.Int64, strict=True).cast(dtype)


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise UnprocessableError(f"{text[:40]!r} is not base64") from None
