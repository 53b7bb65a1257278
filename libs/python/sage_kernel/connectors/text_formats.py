"""JSON Lines and CSV as formats of text files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import IO

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.connectors.conform import Conformer
from sage_kernel.connectors.csv_decoder import CsvDecoder, read_header, split_rows
from sage_kernel.connectors.json_decoder import JsonDecoder, infer_json
from sage_kernel.connectors.record_blocks import after_last_line, after_last_row

_MOST_HEADER_BYTES = 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JsonLines:
    """One JSON object a line."""

    can_be_split = True

    def boundary(self, data: bytes) -> int:
        """Return the length of whole lines."""
        return after_last_line(data)

    def open(self, file: IO[bytes], conformer: Conformer) -> tuple[int, JsonDecoder]:
        """Records begin with the file."""
        begin = len(_BYTE_ORDER_MARK) if file.read(3) == _BYTE_ORDER_MARK else 0
        return begin, JsonDecoder(conformer)

    def line_of(self, block: bytes, index: int) -> int:
        """A record is a line."""
        return index

    def infer(self, sample: bytes) -> Mapping[str, pl.DataType]:
        """Return the fields of the lines."""
        return infer_json(sample.removeprefix(_BYTE_ORDER_MARK))


class Csv:
    """A header and rows."""

    # A line break may lie inside a value, so that a row's beginning can only be told from the file's.
    can_be_split = False

    def __init__(self, delimiter: str = ",") -> None:
        self._delimiter = delimiter

    def boundary(self, data: bytes) -> int:
        """Return the length of whole rows."""
        return after_last_row(data)

    def open(self, file: IO[bytes], conformer: Conformer) -> tuple[int, CsvDecoder]:
        """Records begin behind the header."""
        columns, length = read_header(file.read(_MOST_HEADER_BYTES), self._delimiter)
        return length, CsvDecoder(conformer, columns, self._delimiter)

    def line_of(self, block: bytes, index: int) -> int:
        """Count the line breaks in the rows before."""
        return sum(row.count(b"\n") for row in split_rows(block, most=index))

    def infer(self, sample: bytes) -> Mapping[str, pl.DataType]:
        """Return the columns with the types that all of their values have."""
        columns, length = read_header(sample, self._delimiter)
        try:
            rows = pl.read_csv(
                io.BytesIO(sample[length:]),
                has_header=False,
                new_columns=columns,
                separator=self._delimiter,
                infer_schema_length=None,
                missing_columns="insert",
            )
        except pl.exceptions.NoDataError:
            raise UnprocessableError("it has a header and no row to read the types off; state a 'schema'") from None
        except pl.exceptions.PolarsError as error:
            message = f"its first rows have no common form ({' '.join(str(error).split())[:160]}); state a 'schema'"
            raise UnprocessableError(message) from None
        return dict(rows.schema)
