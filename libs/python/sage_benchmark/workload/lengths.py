"""Distributions of lengths in tokens: log-normal, as those of the public LLM traces nearly are, cut at both ends."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import exp, log
from statistics import NormalDist

_QUANTILES = 4096


@dataclass(frozen=True, slots=True)
class Lengths:
    """Whole numbers around ``median``, from ``low`` to ``high``; ``sigma`` is the deviation of the logarithm."""

    median: float
    sigma: float
    low: int
    high: int

    def draw(self, rng: random.Random) -> int:
        """Draw one."""
        return self._cut(rng.lognormvariate(log(self.median), self.sigma))

    def quantiles(self) -> list[int]:
        """Equally likely values that stand for the distribution, so that expectations need no randomness."""
        normal = NormalDist(log(self.median), self.sigma) if self.sigma else None
        if normal is None:
            return [self._cut(self.median)]
        return [self._cut(exp(normal.inv_cdf((i + 0.5) / _QUANTILES))) for i in range(_QUANTILES)]

    def mean(self) -> float:
        """Expected value."""
        values = self.quantiles()
        return sum(values) / len(values)

    def _cut(self, value: float) -> int:
        return max(self.low, min(self.high, round(value)))
