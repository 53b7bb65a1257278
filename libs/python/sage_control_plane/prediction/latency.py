"""Fits of the time to first token (TTFT) and of the time per output token (TPOT)."""

from __future__ import annotations

from typing import NamedTuple

from sage_control_plane.prediction.error import PercentageError
from sage_control_plane.prediction.least_squares import RecursiveLeastSquares, Vector
from sage_control_plane.prediction.settings import PredictionSettings

# Features are divided by these, to be about 1. It matters: what varies by much less is taken for noise, since a fit
# begins with weights of 0 that it leaves only as far as the samples ask for it.
TOKENS = 1000.0
REQUESTS = 10.0
# Of work beside each token of an answer: some tokens of prompts on a small engine, a hundred on a large one.
TOKENS_A_TOKEN = 10.0


class Load(NamedTuple):
    """An engine's load when a request is dispatched to it.

    Attributes:
        queued_tokens: input tokens of the requests that have no first token yet.
        running: requests outstanding.
    """

    queued_tokens: float = 0.0
    running: float = 0.0


class _Fit:
    """A fit with its error.

    Attributes:
        known: whether there are enough samples to predict.
        trusted: whether there are, and the error is small enough.
        error: of the predictions so far.
    """

    __slots__ = ("_fit", "_settings", "error", "known", "trusted")

    def __init__(self, settings: PredictionSettings, features: int) -> None:
        self._settings = settings
        self._fit = RecursiveLeastSquares(features, settings.forgetting)
        self.error = PercentageError()
        self.known = False
        self.trusted = False

    def _learn(self, features: Vector, predicted: float, seconds: float) -> None:
        if self._fit.count >= self._settings.least_samples // 2:
            self.error.record(predicted, seconds)
        self._fit.learn(features, seconds)
        if self._fit.count >= self._settings.least_samples:
            error = self.error.value
            self.known = True
            self.trusted = error is None or error <= self._settings.most_error


class TtftFit(_Fit):
    """``TTFT = a + b*uncached_input + c*queued_tokens + d*running``, in seconds."""

    __slots__ = ()

    def __init__(self, settings: PredictionSettings) -> None:
        super().__init__(settings, 4)

    @property
    def seconds_per_input_token(self) -> float:
        """Seconds that one more uncached input token costs."""
        return max(0.0, self._fit.weights[1]) / TOKENS

    def seconds(self, uncached_tokens: float, load: Load) -> float:
        """Return the prediction, trusted or not."""
        a, b, c, d, _ = self._fit.weights
        value = a + (b * uncached_tokens + c * load.queued_tokens) / TOKENS + d * load.running / REQUESTS
        return value if value > 0.0 else 0.0

    def wait_seconds(self, load: Load) -> float:
        """Return the part of the prediction that the load causes."""
        weights = self._fit.weights
        return max(0.0, weights[2]) * load.queued_tokens / TOKENS + max(0.0, weights[3]) * load.running / REQUESTS

    def learn(self, uncached_tokens: float, load: Load, seconds: float) -> None:
        """Learn from a request's seconds from dispatch to first token."""
        features = (1.0, uncached_tokens / TOKENS, load.queued_tokens / TOKENS, load.running / REQUESTS, 0.0)
        self._learn(features, self.seconds(uncached_tokens, load), seconds)


class TpotFit(_Fit):
    """``TPOT = e + f*decoding + g*kv_usage + h*prompts + i*vectors``, in seconds.

    ``prompts`` and ``vectors`` are the tokens of prompts computed and of texts embedded per token of the answer.
    Without them e would include their time; with them h and i are the prices of each kind of work. The slope of a TTFT
    is no such price: under load an engine fills each step with prompts to the same length, whatever the size of one.
    """

    __slots__ = ()

    def __init__(self, settings: PredictionSettings) -> None:
        super().__init__(settings, 5)

    @property
    def seconds_per_input_token(self) -> float:
        """Engine-seconds of a token of a prompt."""
        return max(0.0, self._fit.weights[3]) / TOKENS_A_TOKEN

    @property
    def seconds_per_vector_token(self) -> float:
        """Engine-seconds of a token of a text to embed."""
        return max(0.0, self._fit.weights[4]) / TOKENS_A_TOKEN

    def step_seconds(self, decoding: float, kv_usage: float) -> float:
        """Return the prediction while no prompt is computed, trusted or not."""
        e, f, g, _, _ = self._fit.weights
        return max(0.0, e + f * decoding / REQUESTS + g * kv_usage)

    def most_decoding(self, step_seconds: float, kv_usage: float) -> float:
        """Return with how many answers a step takes so long, trusted or not; infinity where more cost nothing."""
        e, f, g, _, _ = self._fit.weights
        return REQUESTS * (step_seconds - e - g * kv_usage) / f if f > 0.0 else float("inf")

    def learn(self, decoding: float, kv_usage: float, prompts: float, vectors: float, seconds: float) -> None:
        """Learn from an answer's mean time between tokens, in seconds."""
        features = (1.0, decoding / REQUESTS, kv_usage, prompts / TOKENS_A_TOKEN, vectors / TOKENS_A_TOKEN)
        self._learn(features, max(0.0, self._fit.value(features)), seconds)
