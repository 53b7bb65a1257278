"""What the nodes that join two inputs have in common: keys, an interval, and the fields of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl
from pydantic import Field

from sage_kernel.durations import Duration
from sage_kernel.event_time.join_sides import RIGHT_SUFFIX, JoinColumns
from sage_kernel.event_time.join_times import LATE_LEFT, LATE_RIGHT
from sage_kernel.nodes import FieldName, NodeSpec
from sage_kernel.schema import write_type
from sage_kernel.stream_type import NodeProblems, StreamType


class JoinedInputs(NodeSpec):
    """A left and a right input, in this order.

    Attributes:
        on: fields that must be equal.
        left_on, right_on: the same where they have different names.
        within: how far apart in time: ``10m`` either way, or ``[lower, upper]`` from the left record to the right.
    """

    most_inputs = 2

    on: tuple[FieldName, ...] = Field((), max_length=64)
    left_on: tuple[FieldName, ...] = Field((), max_length=64)
    right_on: tuple[FieldName, ...] = Field((), max_length=64)
    within: Duration | tuple[Duration, Duration] | None = None

    def interval(self) -> tuple[int, int]:
        """Return how far the right record may lie from the left one, in microseconds."""
        if isinstance(self.within, tuple):
            return self.within
        distance = self.within or 0
        return -distance, distance

    def shuffle_keys(self, inputs: Sequence[StreamType]) -> list[tuple[str, ...]]:
        """Return the keys of either side."""
        return [self.on or self.left_on, self.on or self.right_on]

    def check_interval(self) -> None:
        """Raises ValueError: as many keys on both sides, and an interval that begins before it ends, are needed."""
        if self.on and (self.left_on or self.right_on):
            raise ValueError("a join has either 'on' or both 'left_on' and 'right_on'")
        if len(self.left_on) != len(self.right_on):
            raise ValueError("'left_on' and 'right_on' name as many fields as each other")
        lower, upper = self.interval()
        if lower > upper:
            raise ValueError("'within' ends before it begins; write it as [lower, upper]")

    def late_type(self, port: str, inputs: Sequence[StreamType]) -> StreamType | None:
        """Return the type of late records, that of their input; None for another port."""
        if port in (LATE_LEFT, LATE_RIGHT) and len(inputs) == 2:
            return inputs[0 if port == LATE_LEFT else 1]
        return None

    def pair_type(self, inputs: Sequence[StreamType], problems: NodeProblems, *, is_timed: bool) -> StreamType:
        """Return the fields of a pair, and report what is wrong with keys and times. There are two inputs."""
        left, right = inputs
        self._check_keys(left, right, problems)
        for side, stream in (("left", left), ("right", right)):
            if is_timed and stream.event_time is None and not stream.is_open:
                what = f"the records of its {side} input have no event time"
                problems.add("within", what, "say which field holds it with 'event_time' at the source")
        columns = self.columns(left, right)
        fields = dict(left.fields)
        for name, new in columns.renamed.items():
            if new in fields:
                problems.add("", f"both inputs have fields {name!r} and {new!r}", "give one another name with a map")
            fields[new] = right.fields[name]
        is_open = left.is_open or right.is_open
        is_bounded = left.is_bounded and right.is_bounded
        return replace(left, fields=fields, is_open=is_open, is_bounded=is_bounded)

    def columns(self, left: StreamType, right: StreamType) -> JoinColumns:
        """Return what a pair is made of."""
        left_on, right_on = self.on or self.left_on, self.on or self.right_on
        renamed = {
            name: name + RIGHT_SUFFIX if name in left.fields else name for name in right.fields if name not in self.on
        }
        casts: dict[int, pl.DataType] = {}
        for number, (ours, theirs) in enumerate(zip(left_on, right_on, strict=True)):
            one, other = left.fields.get(ours), right.fields.get(theirs)
            if one is not None and other is not None and one != other:
                casts[number] = pl.Int64() if one.is_integer() and other.is_integer() else pl.Float64()
        return JoinColumns(tuple(left_on), tuple(right_on), renamed, casts)

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
