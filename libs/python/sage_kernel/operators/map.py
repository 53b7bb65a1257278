"""``map``: computes fields of each record, with SQL scalars or a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import AfterValidator, Field, model_validator

from sage_common.errors import UnprocessableError
from sage_kernel.connectors.timestamps import in_range
from sage_kernel.expressions import evaluated, explained, expression_type
from sage_kernel.nodes import FieldName, FieldUse, FunctionUse, NodeSpec
from sage_kernel.operator import AsyncOperator, Transform
from sage_kernel.operator_type import OperatorType
from sage_kernel.problems import Suggestions
from sage_kernel.run_context import RunContext
from sage_kernel.schema import WrittenSchema, parse_schema
from sage_kernel.sql_text import checked
from sage_kernel.stream_type import NodeProblems, StreamType, union_of
from sage_kernel.user_functions import BatchFunction, FunctionRef, frame_of_batch, frame_of_results, load


def _is_scalar(sql: str) -> str:
    checked(sql)
    return sql


SqlScalar = Annotated[str, AfterValidator(_is_scalar)]
"""A SQL scalar over the fields of one record."""


class MapNode(NodeSpec):
    """Computes fields: ``{fields: {length: "LENGTH(text)"}}``, or ``ref`` with the schema of what it returns.

    Attributes:
        fields: SQL scalars by the name of the field that gets their value; all see the record as it came in.
        ref: function that takes a record (a dict) and returns one.
        out: fields of the records that the function returns.
        batch: whether the function takes and returns a polars DataFrame, of as many rows, instead of one record.
        keep: whether the record's other fields stay.
        drop: fields that go.
    """

    positional = ("fields",)
    most_inputs = 1

    op: Literal["map"]
    fields: dict[FieldName, SqlScalar] = Field(default_factory=dict, max_length=256)
    ref: FunctionRef | None = None
    out: WrittenSchema | None = None
    batch: bool = False
    keep: bool = True
    drop: tuple[FieldName, ...] = Field((), max_length=256)

    @model_validator(mode="after")
    def _computes_one_way(self) -> MapNode:
        if self.ref is not None and self.fields:
            raise ValueError("a map has either 'fields' or 'ref'")
        if self.ref is None and not self.fields and not self.drop:
            raise ValueError("a map needs 'fields', 'ref' or 'drop'")
        if (self.ref is None) != (self.out is None):
            raise ValueError("'ref' and 'out' belong together: 'out' states the fields that the function returns")
        return self

    def reads(self) -> Iterator[FieldUse]:
        """Yield the fields that go; what expressions read is found with their types."""
        return (FieldUse("drop", name) for name in self.drop)

    def user_functions(self) -> Iterator[FunctionUse]:
        """Yield the function."""
        if self.ref is not None:
            yield FunctionUse("ref", self.ref)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the fields that stay and those that are computed."""
        stream = union_of(inputs)
        types = computed_types(self, stream, problems)
        known = {name: dtype for name, dtype in types.items() if dtype is not None}
        kept = {
            name: dtype
            for name, dtype in stream.fields.items()
            if self.keep and name not in self.drop and name not in types
        }
        # A computed field whose type is not known yet makes the record one that is not wholly known.
        is_open = (self.keep and stream.is_open) or len(known) < len(types)
        result = stream.replacing(types).only_fields({**kept, **known})
        return replace(result, is_open=is_open)


def computed_types(spec: MapNode, stream: StreamType, problems: NodeProblems) -> dict[str, pl.DataType | None]:
    """Return the types of the fields that a map computes; None for one that is not known before the source is open."""
    if spec.out is not None:
        return dict(parse_schema(spec.out))
    return {name: expression_type(sql, f"fields.{name}", stream, problems) for name, sql in spec.fields.items()}


# Of what is given to expressions at a time, and of what they may make of a batch.
_PIECE_BYTES = 16 * 1024 * 1024
MOST_BYTES = 512 * 1024 * 1024


class SqlMap:
    """Evaluates SQL scalars."""

    def __init__(self, spec: MapNode, stream: StreamType) -> None:
        types = computed_types(spec, stream, NodeProblems("", Suggestions()))
        self._computed = [evaluated(sql, types[name]).alias(name) for name, sql in spec.fields.items()]
        self._names = list(types)
        self._times = [name for name, dtype in types.items() if isinstance(dtype, pl.Datetime | pl.Date)]
        self._keep = spec.keep
        self._drop = spec.drop

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records with their computed fields."""
        computed = self._computed_fields(frame)
        for name in self._times:
            try:
                in_range(computed.get_column(name))
            except UnprocessableError as error:
                raise UnprocessableError(f"field {name!r}: {error.message}") from None
        if self._keep:
            return computed.drop(self._drop) if self._drop else computed
        return computed.select(self._names)

    def _computed_fields(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records with the computed fields beside their own.

        Expressions may make a large record of a small one: they are given so little at a time that what they make can
        be counted before there is too much of it.
        """
        size = int(frame.estimated_size())
        if size <= _PIECE_BYTES:
            pieces = [frame]
        else:
            pieces = list(frame.iter_slices(max(1, frame.height * _PIECE_BYTES // size)))
        computed, made = [], 0
        for piece in pieces:
            # A constant alone would be one row, so it is put beside the others first.
            with explained():
                computed.append(piece.with_columns(self._computed))
            made += int(computed[-1].estimated_size())
            if made > MOST_BYTES:
                raise UnprocessableError(
                    f"{frame.height} records of together {size} bytes become more than {made} bytes, over the limit of "
                    f"{MOST_BYTES}; shorten what the fields are made of",
                    code="too_much_data",
                )
        return pl.concat(computed, how="vertical") if len(computed) > 1 else computed[0]


class FunctionMap(BatchFunction):
    """Calls a function for each record, or for a batch."""

    def __init__(self, spec: MapNode, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._spec = spec
        self._schema = parse_schema(spec.out or {})

    def call(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records with what the function made of them."""
        if self._spec.batch:
            made = frame_of_batch(self._function(frame), self._schema)
        else:
            made = frame_of_results([self._function(record) for record in frame.iter_rows(named=True)], self._schema)
        if not self._spec.keep:
            return made
        gone = {*self._schema, *self._spec.drop}
        kept = frame.select(name for name in frame.columns if name not in gone)
        return pl.concat([kept, made], how="horizontal")


def build(node_id: str, spec: MapNode, context: RunContext, inputs: Sequence[StreamType]) -> Transform | AsyncOperator:
    """Make the operator of a node. Raises PermissionDeniedError for a function that is not allowed."""
    if spec.ref is not None:
        return FunctionMap(spec, load(spec.ref, context.functions))
    return SqlMap(spec, union_of(inputs))


MAP = OperatorType(MapNode, build)
