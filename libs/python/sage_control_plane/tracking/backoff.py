"""Jittered exponential backoff between the tries of one request."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Annotated

from annotated_types import Gt


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double with each try; each is between half and the whole of its step, so that retries spread out.

    Attributes:
        first_seconds: step after the first try.
        most_seconds: longest step.
    """

    first_seconds: Annotated[float, Gt(0)] = 0.05
    most_seconds: Annotated[float, Gt(0)] = 2.0

    def seconds(self, tries: int, random: Random) -> float:
        """Return the wait after ``tries`` (>= 1) tries, in seconds."""
        step = min(self.most_seconds, self.first_seconds * 2.0 ** (tries - 1))
        return step * (0.5 + 0.5 * random.random())
