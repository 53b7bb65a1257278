"""Recursive least squares: a linear fit that learns from one sample at a time and forgets exponentially."""

from __future__ import annotations

# Where samples vary in few directions, forgetting lets the covariance grow without bound; above this it stops.
MOST_VARIANCE = 1e4

Vector = tuple[float, float, float, float, float]


class RecursiveLeastSquares:
    """Fits ``y = w . x`` with exponential forgetting (Ljung, System Identification, 1999, section 11.2).

    Features should be scaled to about 1. There are always five, and the loops over them are unrolled: it learns twice
    for each request, and for five numbers that is three times as fast as lists. Only the upper triangle of the
    covariance is kept: rounding makes the two triangles differ, forgetting multiplies the difference by
    ``1 / forgetting`` with each sample, and after a few thousand samples the matrix is no covariance and the fit
    diverges.

    Args:
        features: how many of the five are in use, a constant 1 for the intercept among them; give 0 for the others.
        forgetting: weight of a sample after each further one, in (0, 1]; 0.99 remembers about 100 samples.
        variance: expected squared error of the initial weights.
    """

    __slots__ = ("_covariance", "_forgetting", "_most_trace", "_start", "count", "weights")

    def __init__(self, features: int = 5, forgetting: float = 0.99, variance: float = 100.0) -> None:
        # A weight without variance stays 0.
        a, b, c, d, e = (variance if index < features else 0.0 for index in range(5))
        self._start = (a, 0.0, 0.0, 0.0, 0.0, b, 0.0, 0.0, 0.0, c, 0.0, 0.0, d, 0.0, e)
        self._covariance = self._start
        self._forgetting = forgetting
        self._most_trace = MOST_VARIANCE * features
        self.weights: Vector = (0.0, 0.0, 0.0, 0.0, 0.0)
        self.count = 0

    def value(self, features: Vector) -> float:
        """Return the fit at ``features``."""
        (w0, w1, w2, w3, w4), (x0, x1, x2, x3, x4) = self.weights, features
        return w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3 + w4 * x4

    def learn(self, features: Vector, y: float) -> None:
        """Update the weights by one sample."""
        x0, x1, x2, x3, x4 = features
        w0, w1, w2, w3, w4 = self.weights
        c00, c01, c02, c03, c04, c11, c12, c13, c14, c22, c23, c24, c33, c34, c44 = self._covariance
        p0 = c00 * x0 + c01 * x1 + c02 * x2 + c03 * x3 + c04 * x4
        p1 = c01 * x0 + c11 * x1 + c12 * x2 + c13 * x3 + c14 * x4
        p2 = c02 * x0 + c12 * x1 + c22 * x2 + c23 * x3 + c24 * x4
        p3 = c03 * x0 + c13 * x1 + c23 * x2 + c33 * x3 + c34 * x4
        p4 = c04 * x0 + c14 * x1 + c24 * x2 + c34 * x3 + c44 * x4
        spread = p0 * x0 + p1 * x1 + p2 * x2 + p3 * x3 + p4 * x4
        self.count += 1
        if spread < 0.0:
            # Rounding has left the covariance indefinite: reset it and keep the weights.
            self._covariance = self._start
            return
        gain = 1.0 / (self._forgetting + spread)
        error = (y - w0 * x0 - w1 * x1 - w2 * x2 - w3 * x3 - w4 * x4) * gain
        self.weights = (w0 + p0 * error, w1 + p1 * error, w2 + p2 * error, w3 + p3 * error, w4 + p4 * error)
        grow = 1.0 if c00 + c11 + c22 + c33 + c44 >= self._most_trace else 1.0 / self._forgetting
        g0, g1, g2, g3, g4 = p0 * gain, p1 * gain, p2 * gain, p3 * gain, p4 * gain
        self._covariance = (
            (c00 - g0 * p0) * grow,
            (c01 - g0 * p1) * grow,
            (c02 - g0 * p2) * grow,
            (c03 - g0 * p3) * grow,
            (c04 - g0 * p4) * grow,
            (c11 - g1 * p1) * grow,
            (c12 - g1 * p2) * grow,
            (c13 - g1 * p3) * grow,
            (c14 - g1 * p4) * grow,
            (c22 - g2 * p2) * grow,
            (c23 - g2 * p3) * grow,
            (c24 - g2 * p4) * grow,
            (c33 - g3 * p3) * grow,
            (c34 - g3 * p4) * grow,
            (c44 - g4 * p4) * grow,
        )
