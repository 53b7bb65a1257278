"""The types of record fields as a pipeline writes them, and as polars knows them.

``string`` ``int`` ``float`` ``float32`` ``bool`` ``timestamp`` ``date`` ``duration`` ``bytes``, ``[type]`` for a list,
``float32[384]`` for a vector of that length, ``delivery|payment|other`` for one of these texts, and a mapping of fields
for a record within the record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import polars as pl
from pydantic import BeforeValidator, WithJsonSchema

# Microseconds since 1970-01-01 UTC: what every event time is counted in.
TIMESTAMP = pl.Datetime("us", "UTC")
_NAMED: Mapping[str, pl.DataType] = {
    "string": pl.String(),
    "int": pl.Int64(),
    "float": pl.Float64(),
    "float32": pl.Float32(),
    "bool": pl.Boolean(),
    "timestamp": TIMESTAMP,
    "date": pl.Date(),
    "duration": pl.Duration("us"),
    "bytes": pl.Binary(),
}
_NAME_OF = {dtype: name for name, dtype in _NAMED.items()}
_VECTOR = re.compile(r"(float32|float|int)\[(\d{1,6})\]")
_ONE_OF = re.compile(r"[^|\x00-\x1f]{1,100}(\|[^|\x00-\x1f]{1,100}){1,99}")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
MAX_VECTOR = 65_536
MAX_DEPTH = 16

TypeText: TypeAlias = Any
"""A type as JSON values: a name, a list of one type, or a mapping from field to type."""

Schema = Mapping[str, pl.DataType]


def parse_type(value: TypeText, depth: int = 0) -> pl.DataType:
    """Return the polars type of a written one.

    Raises:
        ValueError: it is none, or nested deeper than ``MAX_DEPTH``.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"a type nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        if value in _NAMED:
            return _NAMED[value]
        vector = _VECTOR.fullmatch(value)
        if vector and 1 <= int(vector[2]) <= MAX_VECTOR:
            return pl.Array(_NAMED[vector[1]], int(vector[2]))
        if _ONE_OF.fullmatch(value) and len(choices := [one.strip() for one in value.split("|")]) == len(set(choices)):
            return pl.Enum(choices)
    elif isinstance(value, list | tuple) and len(value) == 1:
        return pl.List(parse_type(value[0], depth + 1))
    elif isinstance(value, Mapping) and value:
        return pl.Struct(parse_schema(value, depth + 1))
    raise ValueError(
        f"{str(value)[:80]!r} is no type; known: {', '.join(_NAMED)}, a list as [string], a vector as float32[384], "
        "one of some texts as a|b|c, a record as {name: type}"
    )


def parse_schema(value: Mapping[str, TypeText], depth: int = 0) -> dict[str, pl.DataType]:
    """Return field names with their polars types. Raises ValueError for a name or a type that is none."""
    for name in value:
        if not isinstance(name, str) or not _FIELD.fullmatch(name):
            raise ValueError(f"{str(name)[:80]!r} cannot name a field; use letters, digits and _, at most 63")
    return {name: parse_type(written, depth) for name, written in value.items()}


def write_type(dtype: pl.DataType) -> TypeText:
    """Return how a pipeline writes ``dtype``; types without a notation of their own by the nearest that has one."""
    if isinstance(dtype, pl.Array):
        inner = _NAME_OF.get(dtype.inner, "float32")  # type: ignore[arg-type]
        return f"{inner}[{dtype.size}]"
    if isinstance(dtype, pl.Enum):
        return "|".join(dtype.categories)
    if isinstance(dtype, pl.List):
        return [write_type(dtype.inner)]  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return {field.name: write_type(field.dtype) for field in dtype.fields}  # type: ignore[arg-type]
    if dtype.is_integer():
        return "int"
    if dtype.is_float():
        return "float32" if dtype == pl.Float32 else "float"
    if isinstance(dtype, pl.Datetime):
        return "timestamp"
    if isinstance(dtype, pl.Duration):
        return "duration"
    return _NAME_OF.get(dtype, "string")


def _checked_schema(value: Any) -> Any:
    if isinstance(value, Mapping):
        parse_schema(value)
        return dict(value)
    raise ValueError("a schema is a mapping from field to type, as {id: int, text: string}")


WrittenSchema = Annotated[
    dict[str, Any],
    BeforeValidator(_checked_schema),
    WithJsonSchema({"type": "object", "description": "field names with their types, as {id: int, text: string}"}),
]
"""A schema in a node's spec, kept as it is written; ``parse_schema`` reads it."""
