"""What checkpoints cost a pipeline with a large state."""

from __future__ import annotations

import asyncio
import statistics
import time
from functools import partial
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


async def sleep_of_processor(seconds: float) -> None:
    """Return when this process has used so much processor time.

    A pipeline that computes all the time then has as many checkpoints as on a machine of its own, whatever runs beside.
    """
    until = time.process_time() + seconds
    while True:
        left = until - time.process_time()
        if left <= 0:
            return
        await asyncio.sleep(left)


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
        plainly = partial(run, nodes, expected, None, {}, plain_gap)
        saving = partial(run, nodes, expected, store, {"checkpoint_interval": "1s"}, gap, sleep_of_processor)
        # First and second in turn: memory and caches are not the same for both.
        spent = {each: each() for each in ((plainly, saving) if repetition % 2 else (saving, plainly))}
        without.append(spent[plainly])
        beside.append(spent[saving])
        # Windows pause by themselves, to merge what has doubled.
        pauses.append(max(0.0, gap.longest_ms - plain_gap.longest_ms))
        taken += store.count
    plain = rate("windows over 100,000 keys", count, without)
    checked = rate("the same with a checkpoint every second", count, beside)
    # Of neighbours, and the middle one: the best of one kind and the best of the other are minutes apart, and differ by
    # more than checkpoints take.
    lost = [100 * (1 - one.cpu_seconds / other.cpu_seconds) for one, other in zip(without, beside, strict=True)]
    return [
        plain,
        checked,
        Figure("throughput that checkpoints take, by processor time", statistics.median(lost), "%", 5.0, at_most=True,
               runs=tuple(lost)),
        Figure("longest pause beyond that without", min(pauses), "ms", 50.0, at_most=True, runs=tuple(pauses)),
        Figure("checkpoints taken", taken, ""),
    ]  # fmt: skip
