"""How long a batch takes, fitted to the batches that were computed before."""

from __future__ import annotations

from sage_control_plane.prediction.least_squares import RecursiveLeastSquares

# Features of a fit are scaled to about 1.
_TOKENS_SCALE = 500.0
# With fewer batches the fit is not used.
MIN_SAMPLES = 4
# Least coefficient of variation of the batch sizes; with less, slope and intercept cannot be separated.
MIN_VARIATION = 0.2
_FORGETTING = 0.98
# The fixed cost of a batch in tokens: assumed until it is fitted, then clamped to this range.
DEFAULT_OVERHEAD_TOKENS, MIN_OVERHEAD_TOKENS, MAX_OVERHEAD_TOKENS = 64.0, 16.0, 512.0


class BatchCostModel:
    """Fits ``seconds = a * padded tokens + b`` over about the latest hundred batches. Not thread-safe."""

    def __init__(self) -> None:
        self._fit = RecursiveLeastSquares(2)
        self._weight = self._mean = self._mean_of_squares = 0.0

    def observe(self, padded_tokens: int, seconds: float) -> None:
        """Add a batch of ``padded_tokens`` that took ``seconds`` to the fit."""
        self._weight = _FORGETTING * self._weight + 1.0
        self._mean += (padded_tokens - self._mean) / self._weight
        self._mean_of_squares += (padded_tokens**2 - self._mean_of_squares) / self._weight
        self._fit.learn((padded_tokens / _TOKENS_SCALE, 1.0, 0.0, 0.0, 0.0), seconds)

    @property
    def overhead_tokens(self) -> float:
        """The fixed cost of a batch, ``b / a``, in tokens.

        It is ``DEFAULT_OVERHEAD_TOKENS`` while the batches are too few or too equal in size to separate it.
        """
        variance = self._mean_of_squares - self._mean**2
        if self._fit.count < MIN_SAMPLES or variance < (MIN_VARIATION * self._mean) ** 2:
            return DEFAULT_OVERHEAD_TOKENS
        a, b = (self._fit.value(features) for features in ((1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0, 0.0)))
        if a <= 0:
            return DEFAULT_OVERHEAD_TOKENS
        return min(MAX_OVERHEAD_TOKENS, max(MIN_OVERHEAD_TOKENS, _TOKENS_SCALE * b / a))

    def predict_seconds(self, padded_tokens: int) -> float | None:
        """Predict how long a batch takes; None with fewer than ``MIN_SAMPLES`` batches."""
        if self._fit.count < MIN_SAMPLES:
            return None
        return max(0.0, self._fit.value((padded_tokens / _TOKENS_SCALE, 1.0, 0.0, 0.0, 0.0)))
