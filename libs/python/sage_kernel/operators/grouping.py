"""What ``aggregate`` and ``reduce`` share: records by key and window, what comes out of a group, and late records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from sage_kernel.event_time.combiner import Combiner
from sage_kernel.event_time.event_times import WINDOW, event_time_us
from sage_kernel.event_time.paned_windows import PanedWindows
from sage_kernel.event_time.session_windows import SessionWindows
from sage_kernel.event_time.split_grouping import Grouping
from sage_kernel.event_time.whole_stream import WholeStream
from sage_kernel.event_time.window_output import WINDOW_TYPE
from sage_kernel.nodes import LATE_PORT, NodeSpec
from sage_kernel.stream_type import NodeProblems, StreamType, union_of


class GroupingNode(NodeSpec):
    """Base of the operators that hold one result for each key and window.

    Late records, whose window has been given out, leave by the output ``late`` (``in: [counts.late]``); where nobody
    takes them, they are counted.
    """

    most_inputs = 1

    @property
    def is_splittable(self) -> bool:
        """The records of a group meet in one place."""
        return False

    @property
    def is_mergeable(self) -> bool:
        """Partial results of a group do as well."""
        return True

    def ports(self) -> frozenset[str]:
        """Return ``late`` beside those of every node."""
        return super().ports() | {LATE_PORT}


def check_grouping(stream: StreamType, problems: NodeProblems) -> None:
    """Report what keeps records from being grouped."""
    if stream.window is None and not stream.is_bounded:
        problems.add(
            "", "its input never ends and has no window, so no result is ever complete",
            "put '{op: window, tumbling: 1m}' before it",
        )  # fmt: skip
    if stream.window is not None and WINDOW in stream.key:
        message = f"the key has a field {WINDOW!r}, as its output has"
        problems.add("", message, "give that field another name with a map")


def grouped_type(
    stream: StreamType, results: Mapping[str, pl.DataType], problems: NodeProblems, parameter: str
) -> StreamType:
    """Return the type of one result a group: the key, the window where there is one, and ``results``."""
    fields = {name: stream.fields[name] for name in stream.key if name in stream.fields}
    if stream.window is not None:
        fields[WINDOW] = WINDOW_TYPE
    for name in results:
        if name in fields:
            what = "the window's field" if name == WINDOW and name not in stream.key else "a field of the key"
            problems.add(f"{parameter}.{name}" if parameter else "", f"{name!r} is {what} too", "choose another name")
    return StreamType(
        {**fields, **results},
        is_open=stream.is_open,
        event_time=WINDOW if stream.window is not None else None,
        is_bounded=stream.is_bounded,
        partitioned_by=stream.partitioned_by if stream.partitioned_by <= set(stream.key) else frozenset(),
    )


def grouping(stream: StreamType, combiner: Combiner) -> Grouping:
    """Return the operator that groups the records of ``stream``."""
    if stream.window is None:
        return WholeStream(combiner, stream.key)
    time = event_time_us(stream)
    # See WindowNode.infer.
    assert time is not None
    assert stream.event_time is not None
    windows = SessionWindows if stream.window.kind == "session" else PanedWindows
    return windows(combiner, stream.window, stream.key, time, stream.event_time)


def input_type(inputs: Sequence[StreamType]) -> StreamType:
    """Return the type of the one input."""
    return union_of(inputs) if inputs else StreamType()
