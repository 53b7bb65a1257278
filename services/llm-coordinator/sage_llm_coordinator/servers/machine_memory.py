"""Main memory that a further process could take."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def available_bytes(cgroup: Path = CGROUP) -> int:
    """Return the bytes that the kernel reports as available, or fewer where this process's container has a limit."""
    available = int(psutil.virtual_memory().available)
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if limit is None or used is None:
        return available
    # Pages of files are counted as used and given back when they are needed.
    files = _statistic(cgroup / "memory.stat", "inactive_file")
    return min(available, max(0, limit - used + files))


def total_bytes() -> int:
    """Return the bytes of the machine's main memory."""
    return int(psutil.virtual_memory().total)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _statistic(path: Path, name: str) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)
