"""``join``: pairs of records of two inputs, near in event time or looked up in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from sage_kernel.event_time.event_times import event_time_us
from sage_kernel.event_time.interval_join import IntervalJoin, JoinSide
from sage_kernel.event_time.join_times import LATE_LEFT, LATE_RIGHT
from sage_kernel.event_time.lookup_join import LookupJoin
from sage_kernel.operator import StatefulOperator
from sage_kernel.operator_type import OperatorType
from sage_kernel.operators.joined_inputs import JoinedInputs
from sage_kernel.run_context import RunContext
from sage_kernel.stream_type import NodeProblems, StreamType


class JoinNode(JoinedInputs):
    """Pairs of a left and a right record (``in: [left, right]``) with equal keys.

    With ``within`` both are streams with event time, and a pair is at most so far apart. With ``lookup: true`` the
    right input is a table: it is read first, whole, and kept in memory. Null equals nothing; NaN equals NaN, and -0.0
    equals 0.0. A pair has the fields of both; a right field whose name the left has too gets the suffix ``_right``, and
    the keys of ``on`` are there once. Its event time is that of the left record.

    Records before the watermark are late: they leave by the outputs ``late_left`` and ``late_right``.

    Attributes:
        how: ``left`` gives out left records without a right one too, with null fields.
        lookup: the right input is a table.
        max_rows: most rows of the table.
    """

    op: Literal["join"]
    how: Literal["inner", "left"] = "inner"
    lookup: bool = False
    max_rows: int = Field(1_000_000, ge=1)

    @model_validator(mode="after")
    def _is_one_join(self) -> JoinNode:
        if bool(self.on) == bool(self.left_on or self.right_on):
            raise ValueError("a join has either 'on' or both 'left_on' and 'right_on'")
        self.check_interval()
        if self.lookup == (self.within is not None):
            raise ValueError("a join has either 'within: 10m', for two streams, or 'lookup: true', for a table")
        return self

    @property
    def is_splittable(self) -> bool:
        """Each record is looked up by itself; two streams meet in one place."""
        return self.lookup

    def held_inputs(self) -> frozenset[int]:
        """Return the stream of a lookup: it waits for the table."""
        return frozenset((0,)) if self.lookup else frozenset()

    def ports(self) -> frozenset[str]:
        """Return the outputs for late records beside those of every node."""
        return super().ports() | (frozenset() if self.lookup else {LATE_LEFT, LATE_RIGHT})

    def port_type(self, port: str, inputs: Sequence[StreamType]) -> StreamType:
        """Return the type of late records: that of their input."""
        return self.late_type(port, inputs) or super().port_type(port, inputs)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the fields of a pair."""
        if len(inputs) != 2:
            problems.add("in", f"a join takes two inputs, got {len(inputs)}", "write 'in: [left, right]'")
            return StreamType(is_open=True)
        if self.lookup and not inputs[1].is_bounded:
            problems.add("lookup", "its right input never ends", "join two streams with 'within: 10m'")
        return self.pair_type(inputs, problems, is_timed=not self.lookup)


def build(node_id: str, spec: JoinNode, context: RunContext, inputs: Sequence[StreamType]) -> StatefulOperator:
    """Make the operator of a node."""
    left, right = inputs
    columns = spec.columns(left, right)
    keeps_unmatched = spec.how == "left"
    if spec.lookup:
        return LookupJoin(columns, right.fields, spec.max_rows, keeps_unmatched=keeps_unmatched)
    lower, upper = spec.interval()
    sides = (_side(columns.left_on, left), _side(columns.right_on, right))
    return IntervalJoin(columns, sides, lower, upper, right.fields, keeps_unmatched=keeps_unmatched)


def _side(on: tuple[str, ...], stream: StreamType) -> JoinSide:
    time = event_time_us(stream)
    # See JoinedInputs.pair_type.
    assert time is not None
    assert stream.event_time is not None
    return JoinSide(on, time, stream.event_time)


JOIN = OperatorType(JoinNode, build)
