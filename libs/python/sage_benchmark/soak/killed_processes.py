"""Kills a process of some host again and again, as drawn from a seed; whoever supervises it brings it back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sage_benchmark.soak.accounts import Kill


@dataclass(frozen=True)
class Victim:
    """A process that may be killed.

    Attributes:
        kill: ends it as ``kill -9`` does; says whether it ran.
    """

    host: int
    process: str
    service: str
    kill: Callable[[], bool]


def spared(victims: Sequence[Victim], generator: random.Random) -> frozenset[tuple[int, str]]:
    """Draw one process of each service, by host and name: whose memory is followed while the others are killed."""
    by_service: dict[str, list[Victim]] = {}
    for victim in victims:
        by_service.setdefault(victim.service, []).append(victim)
    drawn = [generator.choice(of_service) for _, of_service in sorted(by_service.items())]
    return frozenset((victim.host, victim.process) for victim in drawn)


@dataclass
class Killer:
    """Draws a host, and then a process of it.

    Args:
        victims: returns what may be killed now.
        now: seconds from the beginning.

    Attributes:
        kills: what was done.
        spares: processes that are left alone in the second half.
    """

    victims: Callable[[], Sequence[Victim]]
    seconds: float
    every_seconds: float
    seed: int
    now: Callable[[], float]
    kills: list[Kill] = field(default_factory=list)
    spares: frozenset[tuple[int, str]] = frozenset()

    async def run(self) -> None:
        """Kill until the time is over."""
        generator = random.Random(f"kills {self.seed}")
        self.spares = spared(self.victims(), generator)
        due = self.every_seconds
        while due < self.seconds:
            await asyncio.sleep(max(0.0, due - self.now()))
            self._kill_one(generator)
            due += self.every_seconds

    def _kill_one(self, generator: random.Random) -> None:
        by_host: dict[int, list[Victim]] = {}
        for victim in self.victims():
            if self.now() < self.seconds / 2 or (victim.host, victim.process) not in self.spares:
                by_host.setdefault(victim.host, []).append(victim)
        host = generator.choice(sorted(by_host))
        # One that is not back yet cannot be killed; another of its host is.
        for victim in generator.sample(by_host[host], len(by_host[host])):
            if victim.kill():
                self.kills.append(Kill(self.now(), victim.host, victim.process, victim.service))
                return


def counted(kills: Sequence[Kill]) -> Mapping[str, Mapping[int, int]]:
    """Count kills by service and host."""
    found: dict[str, dict[int, int]] = {}
    for kill in kills:
        of_service = found.setdefault(kill.service, {})
        of_service[kill.host] = of_service.get(kill.host, 0) + 1
    return found
