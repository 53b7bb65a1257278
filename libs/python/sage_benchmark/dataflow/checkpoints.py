"""What checkpoints cost a pipeline with a large state."""

from __future__ import annotations

import time
from pathlib import Path

from sage_benchmark.dataflow.event_time import windows
from sage_benchmark.dataflow.events import events, write_parquet
from sage_benchmark.dataflow.measurement import DataflowPlan, Figure, rate
from sage_benchmark.dataflow.timed_pipeline import run
from sage_kernel.runtime.progress import NodeCounts
from sage_kernel.state.checkpoint import Checkpoint
from sage_kernel.state.file_checkpoints import FileCheckpoints

KEYS = 100_000


class TimedCheckpoints(FileCheckpoints):
    """Checkpoints in files, and when each was written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.count = 0

    async def save(self, checkpoint: Checkpoint) -> None:
        """Keep ``checkpoint``."""
        await super().save(checkpoint)
        self.count += 1


class LongestGap:
    """The longest time between two batches of a source."""

    def __init__(self) -> None:
        self._last: float | None = None
        self.gaps: list[float] = []

    def __call__(self, node: str, counts: NodeCounts) -> None:
        """Take news of a node."""
        if node == "events":
            now = time.perf_counter()
            if self._last is not None:
                self.gaps.append(now - self._last)
            self._last = now

    @property
    def longest_ms(self) -> float:
        """The longest of them."""
        return 1e3 * max(self.gaps, default=0.0)


def checkpoints(plan: DataflowPlan, folder: Path) -> list[Figure]:
    """Measure windows of a day over 100,000 keys, with a checkpoint every second and without."""
    count = max(plan.events, KEYS) * 2
    frame = events(count, plan.seed, KEYS)
    nodes = windows(write_parquet(folder, "events", frame), {"tumbling": "1d"})
    expected = {"n": count, "total": int(frame["amount"].sum())}
    without, beside, pauses, taken = [], [], [], 0
    # The difference is a hundredth of a run: one pair says nothing on a machine that does something else meanwhile.
    for repetition in range(plan.repetitions if plan.repetitions == 1 else 2 * plan.repetitions):
        store, plain_gap, gap = TimedCheckpoints(folder / f"checkpoints-{repetition}"), LongestGap(), LongestGap()
        without.append(run(nodes, expected, None, {}, plain_gap))
        beside.append(run(nodes, expected, store, {"checkpoint_interval": "1s"}, gap))
        # Windows pause by themselves, to merge what has doubled.
        pauses.append(max(0.0, gap.longest_ms - plain_gap.longest_ms))
        taken += store.count
    plain = rate("windows over 100,000 keys", count, without)
    checked = rate("the same with a checkpoint every second", count, beside)
    assert plain.by_cpu is not None
    assert checked.by_cpu is not None
    lost = 100 * (1 - checked.by_cpu / plain.by_cpu)
    return [
        plain,
        checked,
        Figure("throughput that checkpoints take, by processor time", lost, "%", 5.0, at_most=True),
        Figure("longest pause beyond that without", min(pauses), "ms", 50.0, at_most=True, runs=tuple(pauses)),
        Figure("checkpoints taken", taken, ""),
    ]
