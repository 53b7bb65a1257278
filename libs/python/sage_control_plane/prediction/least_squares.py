"""Recursive least squares: a linear fit that takes one sample at a time and forgets slowly."""

from __future__ import annotations

from collections.abc import Sequence

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

    __slots__ = ("_covariance", "_forgetting", "_size", "count", "weights")

    def __init__(self, size: int, forgetting: float = 0.99, variance: float = 100.0) -> None:
        self._size = size
        self._forgetting = forgetting
        self._covariance = [[variance if row == column else 0.0 for column in range(size)] for row in range(size)]
        self.weights = [0.0] * size
        self.count = 0

    def value(self, features: Sequence[float]) -> float:
        """Return the fit at ``features``."""
        return sum(map(float.__mul__, self.weights, features))

    def learn(self, features: Sequence[float], y: float) -> None:
        """Take a sample in."""
        covariance = self._covariance
        product = [sum(map(float.__mul__, row, features)) for row in covariance]
        denominator = self._forgetting + sum(map(float.__mul__, product, features))
        residual = y - self.value(features)
        self.count += 1
        trace = 0.0
        for index in range(self._size):
            gain = product[index] / denominator
            self.weights[index] += gain * residual
            covariance[index] = row = [c - gain * p for c, p in zip(covariance[index], product, strict=True)]
            trace += row[index]
        if trace < MOST_VARIANCE * self._size:
            keep = 1 / self._forgetting
            self._covariance = [[c * keep for c in row] for row in covariance]
