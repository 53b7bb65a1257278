"""``flat_map``: makes several records, or none, of each: one for each item of a list, or what a function returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import polars as pl
from pydantic import model_validator

from sage_kernel.nodes import FieldName, FieldUse, FunctionUse, NodeSpec
from sage_kernel.operator import AsyncOperator, Transform
from sage_kernel.operator_type import OperatorType
from sage_kernel.run_context import RunContext
from sage_kernel.schema import WrittenSchema, parse_schema, write_type
from sage_kernel.stream_type import NodeProblems, StreamType, union_of
from sage_kernel.user_functions import BatchFunction, FunctionRef, frame_of_results, load, records_of

# Fewer than of a map: each may become many.
BATCH_RECORDS = 64


class FlatMapNode(NodeSpec):
    """An empty list gives no record.

    Attributes:
        explode: list field; each of its items takes its place in a record of its own.
        ref: function that takes a record (a dict) and returns a list of records.
        out: fields of the records that the function returns.
        keep: whether the fields of the record they came from stay beside those of the function.
    """

    positional = ("explode",)
    most_inputs = 1

    op: Literal["flat_map"]
    explode: FieldName | None = None
    ref: FunctionRef | None = None
    out: WrittenSchema | None = None
    keep: bool = True

    @model_validator(mode="after")
    def _has_one_way(self) -> FlatMapNode:
        if (self.explode is None) == (self.ref is None):
            raise ValueError("a flat_map has either 'explode' or 'ref'")
        if (self.ref is None) != (self.out is None):
            raise ValueError("'ref' and 'out' belong together: 'out' states the fields that the function returns")
        return self

    def reads(self) -> Iterator[FieldUse]:
        """Yield the list."""
        if self.explode is not None:
            yield FieldUse("explode", self.explode)

    def user_functions(self) -> Iterator[FunctionUse]:
        """Yield the function."""
        if self.ref is not None:
            yield FunctionUse("ref", self.ref)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the record's fields, with the items or what the function returns."""
        stream = union_of(inputs)
        if self.out is not None:
            made = parse_schema(self.out)
            fields = {**(stream.fields if self.keep else {}), **made}
            result = stream.replacing(made).only_fields(fields)
            return replace(result, is_open=self.keep and stream.is_open)
        assert self.explode is not None
        dtype = stream.fields.get(self.explode)
        if dtype is None:
            return stream
        if not isinstance(dtype, pl.List | pl.Array):
            problems.add("explode", f"{self.explode!r} is {write_type(dtype)!r}, not a list", "name a list field")
            return stream
        return stream.replacing([self.explode]).with_fields({self.explode: dtype.inner})  # type: ignore[dict-item]


class Explode:
    """Makes a record of each item."""

    def __init__(self, name: str) -> None:
        self._name = name

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records of the items."""
        field = pl.col(self._name)
        if isinstance(frame.schema[self._name], pl.Array):
            frame = frame.with_columns(field.arr.to_list())
        return frame.filter(field.list.len() > 0).explode(self._name)


class FunctionFlatMap(BatchFunction):
    """Calls a function for each record."""

    def __init__(self, spec: FlatMapNode, function: Callable[..., Any]) -> None:
        super().__init__(function, BATCH_RECORDS)
        self._schema = parse_schema(spec.out or {})
        self._keep = spec.keep

    def call(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records that the function made of each, in order."""
        made: list[Mapping[str, Any]] = []
        origins: list[int] = []
        for number, record in enumerate(frame.iter_rows(named=True)):
            records = records_of(self._function(record))
            made += records
            origins += [number] * len(records)
        results = frame_of_results(made, self._schema)
        if not self._keep:
            return results
        kept = frame.select(name for name in frame.columns if name not in self._schema)
        return pl.concat([kept[origins], results], how="horizontal") if made else kept[:0].hstack(results)


def build(
    node_id: str, spec: FlatMapNode, context: RunContext, inputs: Sequence[StreamType]
) -> Transform | AsyncOperator:
    """Make the operator of a node. Raises PermissionDeniedError for a function that is not allowed."""
    if spec.explode is not None:
        return Explode(spec.explode)
    return FunctionFlatMap(spec, load(spec.ref, context.functions))


FLAT_MAP = OperatorType(FlatMapNode, build)
