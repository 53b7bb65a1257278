"""JSON objects, one a line, as records of a schema."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import orjson
import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.connectors.conform import Conformer, unknown_field
from sage_kernel.connectors.isolation import Decoded, isolate
from sage_kernel.connectors.record_blocks import has_long_line
from sage_kernel.schema import write_type


class JsonDecoder:
    """Decodes lines, a block at a time.

    Args:
        conformer: the schema, and how long a record may be.
    """

    def __init__(self, conformer: Conformer) -> None:
        self._conformer = conformer
        self._max_record_bytes = conformer.max_record_bytes
        self._known = frozenset(conformer.schema)

    def decode_block(self, block: bytes) -> Decoded:
        """Decode whole lines. Blank lines are no records, but count as lines in the numbers of bad ones."""
        if not has_long_line(block, self._max_record_bytes):
            try:
                return Decoded(self._decode(block))
            except (UnprocessableError, pl.exceptions.PolarsError):
                pass  # one of the lines is to blame
        return self._one_by_one(block.split(b"\n"), blank_is_record=False)

    def decode_records(self, records: Sequence[bytes]) -> Decoded:
        """Decode records that are one JSON object each, with or without line breaks inside."""
        block = b"\n".join(records)
        if block.count(b"\n") != len(records) - 1:
            # A raw line break can only be white space between tokens: inside a string JSON does not allow it.
            records = [record.replace(b"\n", b" ") for record in records]
            block = b"\n".join(records)
        if not has_long_line(block, self._max_record_bytes):
            try:
                frame = self._decode(block)
                if frame.height == len(records):
                    return Decoded(frame)
            except (UnprocessableError, pl.exceptions.PolarsError):
                pass
        return self._one_by_one(records, blank_is_record=True)

    def _one_by_one(self, lines: Sequence[bytes], *, blank_is_record: bool) -> Decoded:
        numbers = [number for number, line in enumerate(lines) if blank_is_record or line.strip()]
        decoded = isolate([lines[number] for number in numbers], self._checked, self._reason)
        return Decoded(decoded.frame, [bad._replace(number=numbers[bad.number]) for bad in decoded.bad])

    def _checked(self, lines: Sequence[bytes]) -> pl.DataFrame:
        longest = max(map(len, lines), default=0)
        if longest > self._max_record_bytes:
            raise UnprocessableError(_too_long(longest, self._max_record_bytes))
        frame = self._decode(b"\n".join(lines))
        if frame.height != len(lines):
            raise UnprocessableError("it is empty, not a JSON object")
        return frame

    def _decode(self, block: bytes) -> pl.DataFrame:
        if self._conformer.extra == "fail":
            self._refuse_unknown(block)
        if not block.strip():
            frame = pl.DataFrame(schema=self._conformer.text_types)
        else:
            frame = pl.read_ndjson(io.BytesIO(block), schema=self._conformer.text_types)
        return self._conformer.conform(frame)

    def _refuse_unknown(self, block: bytes) -> None:
        for line in block.split(b"\n"):
            try:
                record = orjson.loads(line) if line.strip() else {}
            except orjson.JSONDecodeError:
                continue  # the decoder says so, with the rest of its reasons
            for name in record if isinstance(record, dict) else ():
                if name not in self._known:
                    raise unknown_field(name)

    def _reason(self, line: bytes, error: Exception) -> str:
        """Say in the words of a schema what polars says of one record."""
        if len(line) > self._max_record_bytes:
            return _too_long(len(line), self._max_record_bytes)
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as wrong:
            return f"it is not JSON ({wrong}); write one object a record"
        if not isinstance(record, dict):
            return f"it is {_kind(record)}, not a JSON object; write one object a record"
        if isinstance(error, UnprocessableError):
            return error.message
        for name, dtype in self._conformer.schema.items():
            try:
                pl.read_ndjson(io.BytesIO(line), schema={name: self._conformer.text_types[name]})
            except pl.exceptions.PolarsError:
                value = orjson.dumps(record.get(name)).decode("utf-8", "replace")[:80]
                return f"field {name!r} is {value}, not {write_type(dtype)!r}; correct it or the schema"
        return " ".join(str(error).split())[:200]


def _too_long(length: int, limit: int) -> str:
    return f"it has {length} bytes, over the limit of {limit}; raise 'max_record_bytes' or send a reference to it"


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def infer_json(sample: bytes) -> dict[str, pl.DataType]:
    """Return the fields of the JSON objects in ``sample``, one a line; lines that are none are left out.

    Raises:
        UnprocessableError: there is no object, or a field has values of types that no one type holds.
    """
    try:
        return dict(pl.read_ndjson(io.BytesIO(sample), infer_schema_length=None).schema)
    except pl.exceptions.PolarsError:
        objects = [line for line in sample.split(b"\n") if _is_object(line)]
    if not objects:
        raise UnprocessableError("its first lines are no JSON objects; write one object a line, or state a 'schema'")
    try:
        return dict(pl.read_ndjson(io.BytesIO(b"\n".join(objects)), infer_schema_length=None).schema)
    except pl.exceptions.PolarsError as error:
        message = f"its first records have no common type ({' '.join(str(error).split())[:160]}); state a 'schema'"
        raise UnprocessableError(message) from None


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False
