"""Who used the machine while a run lasted. Figures of a machine that was full are figures of that machine."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

# From here on processes wait for a core and not only for each other.
FULL = 0.85


@dataclass(frozen=True, slots=True)
class MachineClock:
    """Seconds so far: of the wall, and of all cores in use."""

    wall: float
    busy: float

    @staticmethod
    def now() -> MachineClock:
        """Read it."""
        times = psutil.cpu_times()
        return MachineClock(time.monotonic(), sum(times) - times.idle - getattr(times, "iowait", 0.0))


@dataclass(frozen=True, slots=True)
class MachineUse:
    """Cores in use during one run, on average: of all processes, and of the benchmark with all that it started."""

    everybody: float
    benchmark: float

    @staticmethod
    def between(before: MachineClock, after: MachineClock, used: Mapping[str, float]) -> MachineUse:
        """``used`` is the CPU time of each process of the benchmark."""
        wall = max(1e-9, after.wall - before.wall)
        return MachineUse((after.busy - before.busy) / wall, sum(used.values()) / wall)


def describe_use(runs: Sequence[MachineUse]) -> str:
    """As a note of a report."""
    cores = os.cpu_count() or 1
    most, ours = max(run.everybody for run in runs), max(run.benchmark for run in runs)
    said = (
        f"Engines, load generator and systems shared {cores} cores and used {ours:.1f} of them on average in the "
        f"busiest run; everything on the machine used {most:.1f}."
    )
    if most > FULL * cores:
        said += " The machine was full: processes waited for a core, which counts in every latency here."
    return said
