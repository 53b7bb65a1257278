"""``aggregate``: counts, sums and other aggregates of the records of each key and window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl
from pydantic import Field, field_validator

from sage_kernel.aggregates import parse_aggregate
from sage_kernel.event_time.event_times import event_time_us
from sage_kernel.event_time.partial_aggregate import PartialAggregate
from sage_kernel.expressions import expression_type
from sage_kernel.nodes import FieldName
from sage_kernel.operator import StatefulOperator
from sage_kernel.operator_type import OperatorType
from sage_kernel.operators.grouping import GroupingNode, check_grouping, grouped_type, grouping, input_type
from sage_kernel.run_context import RunContext
from sage_kernel.stream_type import NodeProblems, StreamType

MOST_AGGREGATES = 200


class AggregateNode(GroupingNode):
    """Gives out one record for each key and window, when the window closes: the fields of the key, ``window`` with
    ``start`` and ``end``, and the aggregates. Without a window it gives them out when its input has ended; without a
    key all records are one group. Null is a key like any other, NaN equals NaN, and -0.0 equals 0.0.

    Attributes:
        aggs: by the field that it becomes, an aggregate such as ``count()``, ``sum(price * quantity)`` or
            ``max_by(name, price)``.
    """

    keywords_into = "aggs"

    op: Literal["aggregate"]
    aggs: dict[FieldName, str] = Field(min_length=1, max_length=MOST_AGGREGATES)

    @field_validator("aggs")
    @classmethod
    def _are_aggregates(cls, aggs: dict[str, str]) -> dict[str, str]:
        for name, text in aggs.items():
            try:
                parse_aggregate(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return aggs

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return key, window and aggregates."""
        stream = input_type(inputs)
        check_grouping(stream, problems)
        return grouped_type(stream, _types(self.aggs, stream, problems), problems, "aggs")


def _types(aggs: Mapping[str, str], stream: StreamType, problems: NodeProblems) -> dict[str, pl.DataType]:
    known = len(problems.found)
    for name, text in aggs.items():
        for sql in parse_aggregate(text).arguments:
            expression_type(sql, f"aggs.{name}", stream, problems)
    if len(problems.found) > known or problems.effort.is_spent:
        return dict.fromkeys(aggs, pl.Null())
    try:
        return PartialAggregate(aggs, event_time_us(stream)).schema(stream.fields)
    except pl.exceptions.PolarsError:
        pass  # one of them is wrong: which?
    types: dict[str, pl.DataType] = {}
    for name, text in aggs.items():
        try:
            types.update(PartialAggregate({name: text}, event_time_us(stream)).schema(stream.fields))
        except pl.exceptions.PolarsError as error:
            types[name] = pl.Null()
            if not stream.is_open:
                reason = " ".join(str(error).split("\n\n")[0].split())[:200]
                problems.add(f"aggs.{name}", f"{text[:80]!r} does not fit the records: {reason}", "correct it")
    return types


def build(node_id: str, spec: AggregateNode, context: RunContext, inputs: Sequence[StreamType]) -> StatefulOperator:
    """Make the operator of a node."""
    stream = input_type(inputs)
    return grouping(stream, PartialAggregate(spec.aggs, event_time_us(stream)))


AGGREGATE = OperatorType(AggregateNode, build)
