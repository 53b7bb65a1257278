"""Recursive least squares: a linear fit that takes one sample at a time and forgets slowly."""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul

# Without new directions in the samples, forgetting would let the covariance grow without end; above this it stops.
MOST_VARIANCE = 1e4


class RecursiveLeastSquares:
    """Fits ``y = w . x`` with exponential forgetting (Ljung, System Identification, 1999, section 11.2).

    Features should be scaled to about 1. O(size²) a sample.

    Args:
        size: number of features, a constant 1 for the intercept among them.
        forgetting: weight of a sample after the next one, in (0, 1]; 0.99 remembers about 100 samples.
        variance: how far the first weights may be from the truth.
    """

    __slots__ = ("_covariance", "_forgetting", "_size", "_trace", "count", "weights")

    def __init__(self, size: int, forgetting: float = 0.99, variance: float = 100.0) -> None:
        self._size = size
        self._forgetting = forgetting
        self._covariance = [[variance if row == column else 0.0 for column in range(size)] for row in range(size)]
        self._trace = variance * size
        self.weights = [0.0] * size
        self.count = 0

    def value(self, features: Sequence[float]) -> float:
        """Return the fit at ``features``."""
        return float(sum(map(mul, self.weights, features)))

    def learn(self, features: Sequence[float], y: float) -> None:
        """Take a sample in."""
        covariance, weights, keep = self._covariance, self.weights, 1.0
        product = [sum(map(mul, row, features)) for row in covariance]
        denominator = self._forgetting + sum(map(mul, product, features))
        residual = y - sum(map(mul, weights, features))
        self.count += 1
        if self._trace < MOST_VARIANCE * self._size:
            keep = 1 / self._forgetting
        trace = 0.0
        for index, row in enumerate(covariance):
            gain = product[index] / denominator
            weights[index] += gain * residual
            covariance[index] = row = [(c - gain * p) * keep for c, p in zip(row, product)]  # noqa: B905 - faster
            trace += row[index]
        self._trace = trace
