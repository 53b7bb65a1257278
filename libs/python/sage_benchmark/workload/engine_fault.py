"""What happens to an engine in the middle of a run, live or simulated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FaultKind(str, Enum):
    """``slow`` makes every step take longer; ``die`` ends the process as ``kill -9`` does."""

    SLOW = "slow"
    DIE = "die"


@dataclass(frozen=True, slots=True)
class EngineFault:
    """The fault of one engine.

    Attributes:
        at_seconds: from the start of the run.
        factor: by which the engine becomes slower; not used for a death.
        engine: its index.
    """

    kind: FaultKind
    at_seconds: float
    factor: float = 5.0
    engine: int = 0

    def describe(self) -> str:
        """In words."""
        what = "is killed" if self.kind is FaultKind.DIE else f"becomes {self.factor:g}× slower"
        return f"one engine {what} after {self.at_seconds:g} s"
