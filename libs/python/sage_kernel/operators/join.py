"""``join``: pairs of records of two inputs, near in event time or looked up in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import polars as pl
from pydantic import Field, model_validator

from sage_kernel.durations import Duration
from sage_kernel.event_time.event_times import event_time_us
from sage_kernel.event_time.interval_join import LATE_LEFT, LATE_RIGHT, IntervalJoin, JoinSide
from sage_kernel.event_time.join_sides import RIGHT_SUFFIX, JoinColumns
from sage_kernel.event_time.lookup_join import LookupJoin
from sage_kernel.nodes import FieldName, NodeSpec
from sage_kernel.operator import OperatorType, RunContext, StatefulOperator
from sage_kernel.schema import write_type
from sage_kernel.stream_type import NodeProblems, StreamType


class JoinNode(NodeSpec):
    """Pairs of a left and a right record (``in: [left, right]``) with equal keys.

    With ``within`` both are streams with event time, and a pair is at most so far apart. With ``lookup: true`` the
    right input is a table: it is read first, whole, and kept in memory. Null equals nothing; NaN equals NaN, and -0.0
    equals 0.0. A pair has the fields of both; a right field whose name the left has too gets the suffix ``_right``, and
    the keys of ``on`` are there once. Its event time is that of the left record.

    Records before the watermark are late: they leave by the outputs ``late_left`` and ``late_right``.

    Attributes:
        on: fields that must be equal.
        left_on, right_on: the same where they have different names.
        within: how far apart in time: ``10m`` either way, or ``[lower, upper]`` from the left record to the right.
        how: ``left`` gives out left records without a right one too, with null fields.
        lookup: the right input is a table.
        max_rows: most rows of the table.
    """

    most_inputs = 2

    op: Literal["join"]
    on: tuple[FieldName, ...] = Field((), max_length=64)
    left_on: tuple[FieldName, ...] = Field((), max_length=64)
    right_on: tuple[FieldName, ...] = Field((), max_length=64)
    within: Duration | tuple[Duration, Duration] | None = None
    how: Literal["inner", "left"] = "inner"
    lookup: bool = False
    max_rows: int = Field(1_000_000, ge=1)

    @model_validator(mode="after")
    def _is_one_join(self) -> JoinNode:
        if bool(self.on) == bool(self.left_on or self.right_on):
            raise ValueError("a join has either 'on' or both 'left_on' and 'right_on'")
        if len(self.left_on) != len(self.right_on):
            raise ValueError("'left_on' and 'right_on' name as many fields as each other")
        if self.lookup == (self.within is not None):
            raise ValueError("a join has either 'within: 10m', for two streams, or 'lookup: true', for a table")
        lower, upper = self.interval()
        if lower > upper:
            raise ValueError("'within' ends before it begins; write it as [lower, upper]")
        return self

    @property
    def is_splittable(self) -> bool:
        """Each record is looked up by itself; two streams meet in one place."""
        return self.lookup

    def interval(self) -> tuple[int, int]:
        """Return how far the right record may lie from the left one, in microseconds."""
        if isinstance(self.within, tuple):
            return self.within
        distance = self.within or 0
        return -distance, distance

    def shuffle_keys(self, inputs: Sequence[StreamType]) -> list[tuple[str, ...]]:
        """Return the keys of either side."""
        return [self.on or self.left_on, self.on or self.right_on]

    def held_inputs(self) -> frozenset[int]:
        """Return the stream of a lookup: it waits for the table."""
        return frozenset((0,)) if self.lookup else frozenset()

    def ports(self) -> frozenset[str]:
        """Return the outputs for late records beside those of every node."""
        return super().ports() | (frozenset() if self.lookup else {LATE_LEFT, LATE_RIGHT})

    def port_type(self, port: str, inputs: Sequence[StreamType]) -> StreamType:
        """Return the type of late records: that of their input."""
        if port in (LATE_LEFT, LATE_RIGHT) and len(inputs) == 2:
            return inputs[0 if port == LATE_LEFT else 1]
        return super().port_type(port, inputs)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the fields of a pair."""
        if len(inputs) != 2:
            problems.add("in", f"a join takes two inputs, got {len(inputs)}", "write 'in: [left, right]'")
            return StreamType(is_open=True)
        left, right = inputs
        self._check_keys(left, right, problems)
        for side, stream in (("left", left), ("right", right)):
            if not self.lookup and stream.event_time is None and not stream.is_open:
                what = f"the records of its {side} input have no event time"
                problems.add("within", what, "say which field holds it with 'event_time' at the source")
        if self.lookup and not right.is_bounded:
            problems.add("lookup", "its right input never ends", "join two streams with 'within: 10m'")
        columns = join_columns(self, left, right)
        fields = dict(left.fields)
        for name, new in columns.renamed.items():
            if new in fields:
                problems.add("", f"both inputs have fields {name!r} and {new!r}", "give one another name with a map")
            dtype = right.fields[name]
            fields[new] = dtype
        is_open = left.is_open or right.is_open
        is_bounded = left.is_bounded and right.is_bounded
        return replace(left, fields=fields, is_open=is_open, is_bounded=is_bounded)

    def _check_keys(self, left: StreamType, right: StreamType, problems: NodeProblems) -> None:
        for ours, theirs in zip(self.on or self.left_on, self.on or self.right_on, strict=True):
            for parameter, name, stream in (("left_on", ours, left), ("right_on", theirs, right)):
                problems.missing("on" if self.on else parameter, name, stream)
            one, other = left.fields.get(ours), right.fields.get(theirs)
            if one is not None and other is not None and one != other and not (one.is_numeric() and other.is_numeric()):
                what = (
                    f"{ours!r} is {write_type(one)!r} on the left and {theirs!r} is {write_type(other)!r} on the right"
                )
                problems.add("on" if self.on else "left_on", what, "make them one type with a map")


def join_columns(spec: JoinNode, left: StreamType, right: StreamType) -> JoinColumns:
    """Return what a pair is made of."""
    left_on, right_on = spec.on or spec.left_on, spec.on or spec.right_on
    renamed = {
        name: name + RIGHT_SUFFIX if name in left.fields else name for name in right.fields if name not in spec.on
    }
    casts: dict[int, pl.DataType] = {}
    for number, (ours, theirs) in enumerate(zip(left_on, right_on, strict=True)):
        one, other = left.fields.get(ours), right.fields.get(theirs)
        if one is not None and other is not None and one != other:
            casts[number] = pl.Int64() if one.is_integer() and other.is_integer() else pl.Float64()
    return JoinColumns(tuple(left_on), tuple(right_on), renamed, casts)


def build(node_id: str, spec: JoinNode, context: RunContext, inputs: Sequence[StreamType]) -> StatefulOperator:
    """Make the operator of a node."""
    left, right = inputs
    columns = join_columns(spec, left, right)
    keeps_unmatched = spec.how == "left"
    if spec.lookup:
        return LookupJoin(columns, right.fields, spec.max_rows, keeps_unmatched=keeps_unmatched)
    lower, upper = spec.interval()
    sides = (_side(columns.left_on, left), _side(columns.right_on, right))
    return IntervalJoin(columns, sides, lower, upper, right.fields, keeps_unmatched=keeps_unmatched)


def _side(on: tuple[str, ...], stream: StreamType) -> JoinSide:
    time = event_time_us(stream)
    # See JoinNode.infer.
    assert time is not None
    assert stream.event_time is not None
    return JoinSide(on, time, stream.event_time)


JOIN = OperatorType(JoinNode, build)
