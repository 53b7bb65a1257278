from __future__ import annotations

import polars as pl
from fixtures.event_streams import TIME, Batch, unordered, whole
from hypothesis import given, seed
from hypothesis import strategies as st

from sage_kernel.event_time.paned_windows import PanedWindows
from sage_kernel.event_time.partial_aggregate import PartialAggregate
from sage_kernel.event_time.session_windows import SessionWindows
from sage_kernel.event_time.split_grouping import Grouping, MergedGrouping, PartialGrouping
from sage_kernel.event_time.whole_stream import WholeStream
from sage_kernel.event_time.windows import WindowSpec
from sage_kernel.runtime.elements import END_OF_TIME_US

AGGREGATES = {"n": "count()", "total": "sum(x)", "kinds": "n_unique(x)"}
WINDOWS = (
    WindowSpec("tumbling", 20, 20),
    WindowSpec("sliding", 30, 20, 0, 3),
    WindowSpec("session", gap_us=5),
    None,
)


def grouping(window: WindowSpec | None) -> Grouping:
    combiner = PartialAggregate(AGGREGATES, TIME)
    if window is None:
        return WholeStream(combiner, ["k"])
    kind = SessionWindows if window.kind == "session" else PanedWindows
    return kind(combiner, window, ["k"], TIME, "ts")


def given_out(operator: Grouping | MergedGrouping) -> list[tuple[object, ...]]:
    emissions = [*operator.on_watermark(END_OF_TIME_US), *operator.on_end()]
    return [row for emission in emissions for row in emission.frame.rows()]


@seed(41)
@given(st.lists(unordered(), min_size=1, max_size=4), st.sampled_from(WINDOWS))
def test_merged_splits_give_what_one_grouping_gives(splits: list[list[Batch]], window: WindowSpec | None) -> None:
    merging = MergedGrouping(grouping(window))
    for split in splits:
        operator = PartialGrouping(grouping(window))
        for number, batch in enumerate(split):
            assert not operator.on_batch(batch.frame, 0)
            assert not operator.on_watermark(batch.watermark)
            if number == 1:
                state = operator.snapshot()
                operator = PartialGrouping(grouping(window))
                operator.restore(state)
        for emission in operator.on_end():
            assert not merging.on_batch(emission.frame, 0)
    one = grouping(window)
    everything = pl.concat([whole(split) for split in splits])
    one.on_batch(everything, 0)
    assert given_out(merging) == given_out(one)
