"""What happens to one engine in the middle of a run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum

from sage_benchmark.live.simulated_pool import SimulatedPool


class LiveFault(str, Enum):
    """``slow`` makes every step take longer; ``die`` ends the process as ``kill -9`` does."""

    SLOW = "slow"
    DIE = "die"


@dataclass(frozen=True, slots=True)
class EngineFault:
    """The first engine's misfortune.

    Attributes:
        at_seconds: from the start of the run.
        factor: how many times as slow it becomes; not used for a death.
    """

    kind: LiveFault
    at_seconds: float
    factor: float = 5.0

    async def strike(self, pool: SimulatedPool) -> None:
        """Wait for the time, then do it. OSError where the engine cannot be told."""
        await asyncio.sleep(self.at_seconds)
        engine = pool.engines[0]
        if self.kind is LiveFault.DIE:
            await asyncio.to_thread(engine.kill)
        else:
            await asyncio.to_thread(engine.set_faults, {"slowdown": self.factor})

    def describe(self) -> str:
        """In words."""
        what = "is killed" if self.kind is LiveFault.DIE else f"becomes {self.factor:g}× slower"
        return f"one engine {what} after {self.at_seconds:g} s"
