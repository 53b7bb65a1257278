"""Failing the node that fills the memory, before the system ends the whole process for it."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import psutil

from sage_common.errors import UnprocessableError
from sage_kernel.operator import StatefulOperator

# Of what the machine, or the container, has.
DEFAULT_SHARE = 0.8
# A state of less than this share of the limit is not what fills the memory.
_GUILTY_SHARE = 0.2
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_MIB = 1024 * 1024


class MemoryGuard:
    """Looks at the memory of this process before a stateful operator takes more records.

    Args:
        limit_bytes: how much this process may hold.
        used_bytes: returns how much it holds.
        setting: what raises the limit, for the error.
    """

    def __init__(self, limit_bytes: int, used_bytes: Callable[[], int], setting: str = "") -> None:
        self._limit = limit_bytes
        self._used = used_bytes
        self._setting = setting

    def check(self, operator: StatefulOperator) -> None:
        """Raise UnprocessableError where the process holds too much, and much of it is the operator's state."""
        used = self._used()
        if used <= self._limit:
            return
        state = sum(int(frame.estimated_size()) for frame in operator.snapshot().frames.values())
        if state < _GUILTY_SHARE * self._limit:
            return
        remedy = f", or raise {self._setting}" if self._setting else ""
        raise UnprocessableError(
            f"its state holds {state // _MIB} MiB of the {used // _MIB} MiB that this process uses, and "
            f"{self._limit // _MIB} MiB is the limit; keep less of each key (`list` and `n_unique` keep every value), "
            f"narrow the window or the interval{remedy}",
            code="out_of_memory",
        )


def default_limit() -> int:
    """Return the share of memory that this process may hold, of the container's where there is one, in bytes."""
    total = int(psutil.virtual_memory().total)
    try:
        text = _CGROUP_LIMIT.read_text().strip()
        total = min(total, int(text)) if text.isdecimal() else total
    except OSError:
        pass
    return int(total * DEFAULT_SHARE)


def resident_bytes() -> int:
    """Return how much memory this process holds."""
    try:
        return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()
    except OSError:  # elsewhere than on Linux
        return int(psutil.Process().memory_info().rss)


_STATM = Path("/proc/self/statm")


def guard_of_process(limit_mb: int | None = None, setting: str = "") -> MemoryGuard:
    """Return the guard of this process; without ``limit_mb`` it takes the default share."""
    return MemoryGuard(limit_mb * _MIB if limit_mb else default_limit(), resident_bytes, setting)
