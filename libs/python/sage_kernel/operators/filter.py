"""``filter``: lets through the records for which a SQL scalar, or a function, is true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl
from pydantic import model_validator

from sage_kernel.expressions import evaluated, explained, expression_type
from sage_kernel.nodes import FunctionUse, NodeSpec
from sage_kernel.operator import AsyncOperator, Transform
from sage_kernel.operator_type import OperatorType
from sage_kernel.operators.map import SqlScalar
from sage_kernel.run_context import RunContext
from sage_kernel.schema import write_type
from sage_kernel.stream_type import NodeProblems, StreamType, union_of
from sage_kernel.user_functions import BatchFunction, FunctionRef, load


class FilterNode(NodeSpec):
    """Keeps records; one for which the condition is null goes, as in SQL.

    Attributes:
        where: SQL scalar that is true or false.
        ref: function that takes a record (a dict) and returns whether it stays.
    """

    positional = ("where",)
    most_inputs = 1

    op: Literal["filter"]
    where: SqlScalar | None = None
    ref: FunctionRef | None = None

    @model_validator(mode="after")
    def _has_one_condition(self) -> FilterNode:
        if (self.where is None) == (self.ref is None):
            raise ValueError("a filter has either 'where' or 'ref'")
        return self

    def user_functions(self) -> Iterator[FunctionUse]:
        """Yield the function."""
        if self.ref is not None:
            yield FunctionUse("ref", self.ref)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the records as they came."""
        stream = union_of(inputs)
        if self.where is not None:
            dtype = expression_type(self.where, "where", stream, problems)
            if dtype is not None and dtype not in (pl.Boolean, pl.Null):
                message = f"the condition is {write_type(dtype)!r}, not true or false"
                problems.add("where", message, "compare it, as in LENGTH(text) > 20")
        return stream


class SqlFilter:
    """Evaluates a condition."""

    def __init__(self, condition: pl.Expr) -> None:
        self._condition = condition

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records that stay."""
        with explained():
            return frame.filter(self._condition)


class FunctionFilter(BatchFunction):
    """Asks a function for each record."""

    def call(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records that stay."""
        stays = [bool(self._function(record)) for record in frame.iter_rows(named=True)]
        return frame.filter(pl.Series(stays, dtype=pl.Boolean))


def build(
    node_id: str, spec: FilterNode, context: RunContext, inputs: Sequence[StreamType]
) -> Transform | AsyncOperator:
    """Make the operator of a node. Raises PermissionDeniedError for a function that is not allowed."""
    if spec.where is not None:
        return SqlFilter(evaluated(spec.where, pl.Boolean()))
    return FunctionFilter(load(spec.ref, context.functions))


FILTER = OperatorType(FilterNode, build)
