"""Rows of CSV (RFC 4180) as records of a schema."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.connectors.conform import Conformer, unknown_field
from sage_kernel.connectors.isolation import Decoded, isolate
from sage_kernel.connectors.record_blocks import has_long_line
from sage_kernel.schema import write_type


class CsvDecoder:
    """Decodes rows, a block at a time.

    Args:
        conformer: the schema, and how long a record may be.
        columns: the names in the file's header, in order.
        delimiter: between two values.

    Raises:
        UnprocessableError: the header lacks a field, has one twice, or one too many with ``extra: fail``.
    """

    def __init__(self, conformer: Conformer, columns: Sequence[str], delimiter: str) -> None:
        missing = [name for name in conformer.schema if name not in columns]
        if missing:
            shown = ", ".join(columns)[:200]
            raise UnprocessableError(f"the header has no column {missing[0]!r} (it has {shown}); correct the schema")
        if len(set(columns)) < len(columns):
            double = next(name for name in columns if list(columns).count(name) > 1)
            raise UnprocessableError(f"the header has {double!r} twice; give each column a name of its own")
        unknown = [name for name in columns if name not in conformer.schema]
        if unknown and conformer.extra == "fail":
            raise unknown_field(unknown[0])
        self._conformer = conformer
        self._delimiter = delimiter
        self._max_record_bytes = conformer.max_record_bytes
        # A list or record has no form in CSV but JSON's text.
        self._types = {name: _flat(conformer.text_types.get(name, pl.String())) for name in columns}

    def decode_block(self, block: bytes) -> Decoded:
        """Decode whole rows. Blank rows are no records, but count as rows in the numbers of bad ones."""
        if not has_long_line(block, self._max_record_bytes) and b"\0" not in block and not _has_blank_line(block):
            try:
                return Decoded(self._decode(block))
            except (UnprocessableError, pl.exceptions.PolarsError):
                pass  # one of the rows is to blame
        rows = split_rows(block)
        numbers = [number for number, row in enumerate(rows) if row.strip()]
        decoded = isolate([rows[number] for number in numbers], self._checked, self._reason)
        return Decoded(decoded.frame, [bad._replace(number=numbers[bad.number]) for bad in decoded.bad])

    def _checked(self, rows: Sequence[bytes]) -> pl.DataFrame:
        for row in rows:
            if len(row) > self._max_record_bytes:
                message = f"it has {len(row)} bytes, over the limit of {self._max_record_bytes}"
                raise UnprocessableError(f"{message}; raise 'max_record_bytes'")
            if b"\0" in row:
                raise UnprocessableError("it holds a NUL byte; this is no text")
        frame = self._decode(b"".join(row if row.endswith(b"\n") else row + b"\n" for row in rows))
        if frame.height != len(rows):
            raise UnprocessableError("its quotes do not match; write a quote inside a value twice")
        return frame

    def _decode(self, block: bytes) -> pl.DataFrame:
        if not block.strip():
            return self._conformer.conform(pl.DataFrame(schema=self._conformer.text_types))
        frame = pl.read_csv(
            io.BytesIO(block), has_header=False, schema=self._types, separator=self._delimiter, missing_columns="insert"
        )
        return self._conformer.conform(frame.select(list(self._conformer.schema)))

    def _reason(self, row: bytes, error: Exception) -> str:
        if isinstance(error, UnprocessableError):
            return error.message
        try:
            values = next(csv.reader([row.decode("utf-8")], delimiter=self._delimiter, strict=True), [])
        except (csv.Error, UnicodeDecodeError) as wrong:
            return f"it is no row of CSV ({wrong}); correct it"
        if len(values) != len(self._types):
            return f"it has {len(values)} values, the header has {len(self._types)}; correct it"
        for (name, dtype), value in zip(self._types.items(), values, strict=True):
            try:
                pl.Series([value or None], dtype=pl.String).cast(dtype, strict=True)
            except pl.exceptions.PolarsError:
                wanted = write_type(self._conformer.schema[name])
                return f"field {name!r} is {value[:80]!r}, not {wanted!r}; correct it or the schema"
        return " ".join(str(error).split())[:200]


def read_header(data: bytes, delimiter: str) -> tuple[list[str], int]:
    """Return the names in the first row of ``data``, and its length. Raises UnprocessableError where there is none."""
    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    rows = split_rows(data[start:], most=1)
    try:
        names = next(csv.reader([rows[0].decode("utf-8")], delimiter=delimiter)) if rows else []
    except (csv.Error, UnicodeDecodeError) as error:
        raise UnprocessableError(
            f"the first row is no header of CSV ({error}); write the columns' names there"
        ) from None
    if not any(name.strip() for name in names):
        raise UnprocessableError("there is no header; write the columns' names in the first row")
    return [name.strip() for name in names], start + len(rows[0])


def split_rows(block: bytes, most: int | None = None) -> list[bytes]:
    """Return the rows of ``block`` with their line breaks; a row may hold line breaks between quotes.

    A row whose quotes do not match ends with its line, so that it takes no other along.
    """
    rows: list[bytes] = []
    lines = list(io.BytesIO(block))
    at = 0
    is_sound = block.count(b'"') % 2 == 0
    while at < len(lines) and (most is None or len(rows) < most):
        row = lines[at]
        at += 1
        if is_sound:
            while row.count(b'"') % 2 and at < len(lines):
                row += lines[at]
                at += 1
        rows.append(row)
    return rows


def _has_blank_line(block: bytes) -> bool:
    """Return whether a line is blank, which may lie between two rows or inside a value."""
    return b"\n\n" in block or b"\n\r\n" in block or block.startswith((b"\n", b"\r\n"))


def _flat(dtype: pl.DataType) -> pl.DataType:
    return pl.String() if dtype.is_nested() else dtype
