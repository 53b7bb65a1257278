"""How long a batch takes, learned from those before it."""

from __future__ import annotations

from sage_control_plane.prediction.least_squares import RecursiveLeastSquares

# Features of a fit are to be about 1.
_TOKENS_SCALE = 500.0
# Before this many batches the fit says nothing.
LEAST_SAMPLES = 4
# The sizes of batches must vary so much, as standard deviation to mean, for the two parts to be told apart.
LEAST_VARIATION = 0.2
_MEMORY = 0.98
# What a batch costs beside its tokens, as so many of them: assumed before it is known, and the least and most believed.
FIRST_OVERHEAD, LEAST_OVERHEAD, MOST_OVERHEAD = 64.0, 16.0, 512.0


class BatchPace:
    """Fits ``seconds = a * padded tokens + b`` over the latest hundred batches or so."""

    def __init__(self) -> None:
        self._fit = RecursiveLeastSquares(2)
        self._weight = self._mean = self._mean_of_squares = 0.0

    def learn(self, padded_tokens: int, seconds: float) -> None:
        """A batch of this size took so long."""
        self._weight = _MEMORY * self._weight + 1.0
        self._mean += (padded_tokens - self._mean) / self._weight
        self._mean_of_squares += (padded_tokens**2 - self._mean_of_squares) / self._weight
        self._fit.learn((padded_tokens / _TOKENS_SCALE, 1.0, 0.0, 0.0, 0.0), seconds)

    @property
    def overhead_tokens(self) -> float:
        """What a batch costs beside its tokens, ``b / a``: the tokens that take as long. Assumed while the batches are
        too few, or too much alike, to know."""
        variance = self._mean_of_squares - self._mean**2
        if self._fit.count < LEAST_SAMPLES or variance < (LEAST_VARIATION * self._mean) ** 2:
            return FIRST_OVERHEAD
        a, b = (self._fit.value(features) for features in ((1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0, 0.0)))
        return min(MOST_OVERHEAD, max(LEAST_OVERHEAD, _TOKENS_SCALE * b / a)) if a > 0 else FIRST_OVERHEAD

    def seconds(self, padded_tokens: int) -> float:
        """Predict a batch; 0 while too little is known."""
        if self._fit.count < LEAST_SAMPLES:
            return 0.0
        return max(0.0, self._fit.value((padded_tokens / _TOKENS_SCALE, 1.0, 0.0, 0.0, 0.0)))
