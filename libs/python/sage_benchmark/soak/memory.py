"""Resident memory of processes that are killed and come back: how fast it grows while a process lives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

import psutil

from sage_platform.supervision.process_status import ProcessIdentity

MB = 1e6
# As much as this a process may grow in the second half: allocators come to rest late.
GROWTH_SHARE, GROWTH_MB = 0.10, 12.0
# What lives shorter than this share of the second half says nothing of the whole of it.
LEAST_SHARE = 0.25


@dataclass
class Life:
    """One process, from its start to its end.

    Attributes:
        resident: seconds from the beginning of the soak, and MB of 10^6 bytes.
    """

    born: float
    resident: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Growth:
    """How the memory of one name's processes grew in the second half.

    Attributes:
        lives: processes that it has had, all in all.
        followed_seconds: of those of its lives that were long enough.
        resident_mb: the median of what was seen of these.
        mb_per_minute: within lives, by least squares; None where none was long enough.
        half_seconds: of the second half.
    """

    name: str
    lives: int
    followed_seconds: float
    resident_mb: float
    mb_per_minute: float | None
    half_seconds: float

    @property
    def growth_mb(self) -> float | None:
        """What it comes to over the second half."""
        return None if self.mb_per_minute is None else self.mb_per_minute * self.half_seconds / 60

    @property
    def is_flat(self) -> bool:
        """Whether it stays within what an allocator may take."""
        grown = self.growth_mb
        return grown is None or grown <= max(GROWTH_SHARE * self.resident_mb, GROWTH_MB)


def growth_of(name: str, lives: Sequence[Life], half: tuple[float, float], warm_up_seconds: float) -> Growth:
    """Return the growth within the lives of ``name``, each from its age of ``warm_up_seconds`` on.

    Lives are compared with themselves only: a process that was started again begins low, which would hide a leak.
    """
    since, until = half
    followed = []
    for life in lives:
        seen = [(at, mb) for at, mb in life.resident if since <= at <= until and at - life.born >= warm_up_seconds]
        if seen and seen[-1][0] - seen[0][0] >= LEAST_SHARE * (until - since):
            followed.append(seen)
    seconds = sum(seen[-1][0] - seen[0][0] for seen in followed)
    middle = median(mb for seen in followed for _, mb in seen) if followed else 0.0
    return Growth(name, len(lives), seconds, middle, slope(followed), until - since)


def slope(lives: Iterable[Sequence[tuple[float, float]]]) -> float | None:
    """Return the common slope of lines through several sets of points, in units a minute; None where there is none."""
    products = squares = 0.0
    for seen in lives:
        middle = sum(at for at, _ in seen) / len(seen)
        mean = sum(mb for _, mb in seen) / len(seen)
        products += sum((at - middle) * (mb - mean) for at, mb in seen)
        squares += sum((at - middle) ** 2 for at, _ in seen)
    return 60 * products / squares if squares else None


class MemoryWatch:
    """Notes the resident memory of processes by name, each start a life of its own."""

    def __init__(self) -> None:
        self.lives: dict[str, dict[ProcessIdentity, Life]] = {}

    def note(self, now: float, processes: Iterable[tuple[str, ProcessIdentity]]) -> None:
        """Read all once. ``now``: seconds from the beginning."""
        for name, identity in processes:
            process = identity.process()
            if process is None:
                continue
            try:
                resident = process.memory_info().rss / MB
            except psutil.NoSuchProcess:
                continue
            of_name = self.lives.setdefault(name, {})
            of_name.setdefault(identity, Life(now)).resident.append((now, resident))

    def growths(self, seconds: float, warm_up_seconds: float) -> list[Growth]:
        """Return the growth of each name in the second half of ``seconds``."""
        half = (seconds / 2, seconds)
        return [
            growth_of(name, list(lives.values()), half, warm_up_seconds) for name, lives in sorted(self.lives.items())
        ]
