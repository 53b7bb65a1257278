"""What a process had of the processors, and how long it waited for one: what is the machine's, and what its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_NANOSECONDS = 1e9


@dataclass(frozen=True, slots=True)
class ProcessorTimes:
    """Seconds since processes started, over all of their threads.

    Attributes:
        used: on a processor.
        waited: ready to run, with no processor free.
    """

    used: float = 0.0
    waited: float = 0.0

    def __add__(self, other: ProcessorTimes) -> ProcessorTimes:
        return ProcessorTimes(self.used + other.used, self.waited + other.waited)

    def share_since(self, earlier: ProcessorTimes, seconds: float) -> ProcessorTimes:
        """Return what was added since then, for each of the ``seconds`` between."""
        return ProcessorTimes((self.used - earlier.used) / seconds, (self.waited - earlier.waited) / seconds)


def processor_times(pids: Iterable[int], proc: Path = Path("/proc")) -> ProcessorTimes | None:
    """Return the times of some processes; None where the system does not tell them, as only Linux does.

    Threads that have ended, and processes that have, are not in it.
    """
    total, told = ProcessorTimes(), False
    for pid in pids:
        for thread in (proc / str(pid) / "task").glob("*/schedstat"):
            try:
                used, waited, _ = thread.read_text().split()
            except (OSError, ValueError):
                continue
            told = True
            total += ProcessorTimes(int(used) / _NANOSECONDS, int(waited) / _NANOSECONDS)
    return total if told else None
