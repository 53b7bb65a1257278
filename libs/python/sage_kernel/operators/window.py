"""``window``: says how the ``aggregate`` or ``reduce`` behind it groups records in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import polars as pl
from pydantic import Field, model_validator

from sage_kernel.durations import Duration, write_duration
from sage_kernel.event_time.windows import WindowSpec
from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import Transform
from sage_kernel.operator_type import OperatorType
from sage_kernel.run_context import RunContext
from sage_kernel.stream_type import NodeProblems, StreamType, union_of

# Windows that one record may be in: a day that slides by the minute.
MOST_OVERLAP = 1440


class WindowNode(NodeSpec):
    """Windows in event time: exactly one of ``tumbling``, ``sliding`` and ``session``.

    Attributes:
        tumbling: length of windows that lie side by side.
        sliding: length of windows that overlap, and the time from one start to the next.
        session: longest time between two records of one window.
        offset: what the starts are shifted by; without it they are multiples of the length (or the slide) since
            1970-01-01 UTC.
        lateness: how long after its end a window still takes records. It is given out once, then.
    """

    positional = ("tumbling",)

    op: Literal["window"]
    tumbling: Duration | None = Field(None, gt=0)
    sliding: tuple[Duration, Duration] | None = None
    session: Duration | None = Field(None, gt=0)
    offset: Duration = 0
    lateness: Duration = Field(0, ge=0)

    @model_validator(mode="after")
    def _has_one_kind(self) -> WindowNode:
        kinds = [name for name in ("tumbling", "sliding", "session") if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError("a window is exactly one of 'tumbling: 1m', 'sliding: [10m, 1m]' and 'session: 30s'")
        if self.session is not None and self.offset:
            raise ValueError("a session begins with its first record and has no 'offset'")
        if self.sliding is not None:
            size, slide = self.sliding
            if not 0 < slide <= size:
                raise ValueError("windows slide by more than nothing and at most their length, as 'sliding: [10m, 1m]'")
            if size > MOST_OVERLAP * slide:
                written = f"[{write_duration(size)}, {write_duration(slide)}]"
                raise ValueError(f"a record would be in more than {MOST_OVERLAP} windows of {written}")
        return self

    def window(self) -> WindowSpec:
        """Return what the operators behind it need."""
        if self.session is not None:
            return WindowSpec("session", gap_us=self.session, lateness_us=self.lateness)
        if self.sliding is not None:
            size, slide = self.sliding
            return WindowSpec("sliding", size, slide, offset_us=self.offset, lateness_us=self.lateness)
        assert self.tumbling is not None  # one of the three is set
        return WindowSpec("tumbling", self.tumbling, self.tumbling, 0, self.offset, self.lateness)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the records as they are, grouped in time."""
        stream = union_of(inputs)
        if stream.event_time is None and not stream.is_open:
            problems.add(
                "", "its records have no event time", "say which field holds it with 'event_time' at the source"
            )
        return replace(stream, window=self.window())


class PassOn:
    """Leaves records as they are."""

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return ``frame``."""
        return frame


def build(node_id: str, spec: WindowNode, context: RunContext, inputs: Sequence[StreamType]) -> Transform:
    """Make the step of a node, which does nothing: the operator behind it groups."""
    return PassOn()


WINDOW = OperatorType(WindowNode, build)
