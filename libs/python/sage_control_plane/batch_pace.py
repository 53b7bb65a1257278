"""How long a batch takes, learned from those before it."""

from __future__ import annotations

from sage_control_plane.prediction.least_squares import RecursiveLeastSquares

# Features of a fit are to be about 1.
_TOKENS_SCALE = 500.0
# Before this many batches the fit says nothing.
LEAST_SAMPLES = 4
# What a batch costs beside its tokens, as so many of them: assumed before it is known, and the least and most believed.
FIRST_OVERHEAD, LEAST_OVERHEAD, MOST_OVERHEAD = 64.0, 16.0, 512.0


class BatchPace:
    """Fits ``seconds = a * padded tokens + b`` over the latest hundred batches or so."""

    def __init__(self) -> None:
        self._fit = RecursiveLeastSquares(2)

    def learn(self, padded_tokens: int, seconds: float) -> None:
        """A batch of this size took so long."""
        self._fit.learn((padded_tokens / _TOKENS_SCALE, 1.0, 0.0, 0.0, 0.0), seconds)

    @property
    def overhead_tokens(self) -> float:
        """What a batch costs beside its tokens, ``b / a``: the tokens that take as long."""
        if self._fit.count < LEAST_SAMPLES:
            return FIRST_OVERHEAD
        a, b = (self._fit.value(features) for features in ((1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0, 0.0)))
        return min(MOST_OVERHEAD, max(LEAST_OVERHEAD, _TOKENS_SCALE * b / a)) if a > 0 else FIRST_OVERHEAD

    def seconds(self, padded_tokens: int) -> float:
        """Predict a batch; 0 while too little is known."""
        if self._fit.count < LEAST_SAMPLES:
            return 0.0
        return max(0.0, self._fit.value((padded_tokens / _TOKENS_SCALE, 1.0, 0.0, 0.0, 0.0)))
