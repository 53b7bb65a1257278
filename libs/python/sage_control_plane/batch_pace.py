"""How long a batch takes, learned from those before it."""

from __future__ import annotations

from sage_control_plane.prediction.least_squares import RecursiveLeastSquares

# Features of a fit are to be about 1.
_TOKENS_SCALE = 500.0
# Before this many batches the fit says nothing.
LEAST_SAMPLES = 4


class BatchPace:
    """Fits ``seconds = a * padded tokens + b`` over the latest hundred batches or so."""

    def __init__(self) -> None:
        self._fit = RecursiveLeastSquares(2)

    def learn(self, padded_tokens: int, seconds: float) -> None:
        """A batch of this size took so long."""
        self._fit.learn((padded_tokens / _TOKENS_SCALE, 1.0, 0.0, 0.0, 0.0), seconds)

    def seconds(self, padded_tokens: int) -> float:
        """Predict a batch; 0 while too little is known."""
        if self._fit.count < LEAST_SAMPLES:
            return 0.0
        return max(0.0, self._fit.value((padded_tokens / _TOKENS_SCALE, 1.0, 0.0, 0.0, 0.0)))
