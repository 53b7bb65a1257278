"""Predicted time to first token, and time per token after it."""

from __future__ import annotations

from typing import NamedTuple

from sage_control_plane.prediction.error import PercentageError
from sage_control_plane.prediction.least_squares import RecursiveLeastSquares, Vector
from sage_control_plane.prediction.settings import PredictionSettings

# Features are divided by these, to be about 1.
TOKENS = 1000.0
REQUESTS = 10.0


class Load(NamedTuple):
    """What is on an engine when a request comes.

    Attributes:
        queued_tokens: input tokens of the requests that have no first token yet.
        running: requests outstanding.
    """

    queued_tokens: float = 0.0
    running: float = 0.0


class _Fit:
    """A fit that knows how good it is.

    Attributes:
        known: whether enough was seen to predict at all.
        trusted: whether enough was seen, and predicted well enough.
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
        if self.known:
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
        """What one more uncached input token costs."""
        return max(0.0, self._fit.weights[1]) / TOKENS

    def seconds(self, uncached_tokens: float, load: Load) -> float:
        """Return the prediction, whether to be trusted or not."""
        a, b, c, d, _ = self._fit.weights
        value = a + (b * uncached_tokens + c * load.queued_tokens) / TOKENS + d * load.running / REQUESTS
        return value if value > 0.0 else 0.0

    def wait_seconds(self, load: Load) -> float:
        """Return the part of the prediction that what is on the engine already is to blame for."""
        weights = self._fit.weights
        return max(0.0, weights[2]) * load.queued_tokens / TOKENS + max(0.0, weights[3]) * load.running / REQUESTS

    def learn(self, uncached_tokens: float, load: Load, seconds: float) -> None:
        """A first token came so long after its dispatch."""
        features = (1.0, uncached_tokens / TOKENS, load.queued_tokens / TOKENS, load.running / REQUESTS, 0.0)
        self._learn(features, self.seconds(uncached_tokens, load), seconds)


class TpotFit(_Fit):
    """``TPOT = e + f*decoding + g*kv_usage + h*prompts + i*vectors``, in seconds.

    ``prompts`` and ``vectors`` are the tokens of prompts that were computed and of texts that were embedded for each
    token of the answer. Without them e would be whatever they happened to take of the engine; with them the fit knows
    what each kind of work takes of an engine's time. The slope of a TTFT does not: under load a step of an engine is
    filled up with prompts to the same length whatever the size of one's own.
    """

    __slots__ = ()

    def __init__(self, settings: PredictionSettings) -> None:
        super().__init__(settings, 5)

    @property
    def seconds_per_input_token(self) -> float:
        """What a token of a prompt takes of an engine's time."""
        return max(0.0, self._fit.weights[3]) / TOKENS

    @property
    def seconds_per_vector_token(self) -> float:
        """What a token of a text to embed takes of an engine's time."""
        return max(0.0, self._fit.weights[4]) / TOKENS

    def step_seconds(self, decoding: float, kv_usage: float) -> float:
        """Return the prediction while no prompt is computed, whether to be trusted or not."""
        e, f, g, _, _ = self._fit.weights
        return max(0.0, e + f * decoding / REQUESTS + g * kv_usage)

    def learn(self, decoding: float, kv_usage: float, prompts: float, vectors: float, seconds: float) -> None:
        """An answer's tokens came so far apart."""
        features = (1.0, decoding / REQUESTS, kv_usage, prompts / TOKENS, vectors / TOKENS)
        self._learn(features, max(0.0, self._fit.value(features)), seconds)
