"""What is on one engine, and what may be expected of it."""

from __future__ import annotations

from sage_control_plane.engines import EngineLoad
from sage_control_plane.prediction.latency import Load, TpotFit, TtftFit
from sage_control_plane.prediction.settings import PredictionSettings


class LatencyFits:
    """The fits of one engine, or of a pool over all its engines. Vectors and generated text begin differently.

    Attributes:
        every: the pool's fits learn from one sample in so many: what is typical needs no more, however many engines.
    """

    __slots__ = ("_skipped", "every", "tpot", "ttft_generating", "ttft_vectors")

    def __init__(self, settings: PredictionSettings) -> None:
        self.every = 1
        self._skipped = 0
        self.ttft_generating = TtftFit(settings)
        self.ttft_vectors = TtftFit(settings)
        self.tpot = TpotFit(settings)

    @property
    def errors(self) -> dict[str, float | None]:
        """MAPE of each fit; None while it has predicted nothing."""
        return {
            "ttft_generating": self.ttft_generating.error.value,
            "ttft_vectors": self.ttft_vectors.error.value,
            "tpot": self.tpot.error.value,
        }

    def samples_this(self) -> bool:
        """Whether the sample at hand is to be learned from."""
        self._skipped += 1
        if self._skipped < self.every:
            return False
        self._skipped = 0
        return True

    def ttft(self, generates: bool) -> TtftFit:
        """The fit for a kind of work."""
        return self.ttft_generating if generates else self.ttft_vectors


def prompt_weight(fits: LatencyFits, generates: bool) -> float:
    """Return how much a token of a kind of work counts in an engine's queue of prompts, in tokens of generating work.

    A text to embed costs a part of what a prompt costs that is to be answered.
    """
    if generates or not (fits.ttft_generating.trusted and fits.ttft_vectors.trusted):
        return 1.0
    generating = fits.ttft_generating.seconds_per_input_token
    return min(1.0, fits.ttft_vectors.seconds_per_input_token / generating) if generating else 1.0


class Forecast:
    """An engine's load, kept with each decision, and predictions from it.

    Two clocks run with the load: ``share_seconds`` is the integral of 1 / outstanding, by which a stay is priced, and
    ``running_seconds`` the integral of outstanding, by which a mean load is known.

    Args:
        pool: fits over all engines of the pool, used until the engine's own know enough.

    Attributes:
        told_tpot_seconds: time between tokens of late, as the engine itself measures it; 0 when it does not tell.
    """

    __slots__ = (
        "_at",
        "_fits",
        "_least_samples",
        "_pool",
        "kv_usage",
        "queued_tokens",
        "running",
        "running_seconds",
        "share_seconds",
        "told_tpot_seconds",
    )

    def __init__(self, settings: PredictionSettings, pool: LatencyFits) -> None:
        self._fits = LatencyFits(settings)
        self._pool = pool
        self._least_samples = settings.least_samples
        self._at = 0.0
        self.queued_tokens = 0
        self.running = 0
        self.kv_usage = 0.0
        self.told_tpot_seconds = 0.0
        self.running_seconds = 0.0
        self.share_seconds = 0.0

    def advance(self, now: float) -> None:
        """Let the clocks run up to now; to be called before the load changes."""
        elapsed = now - self._at
        if elapsed > 0:
            if self.running:
                self.share_seconds += elapsed / self.running
                self.running_seconds += elapsed * self.running
            self._at = now

    def hear(self, told: EngineLoad | None) -> None:
        """Take in what the engine says of itself; None when it has not of late."""
        self.kv_usage = told.kv_cache_usage if told else 0.0
        self.told_tpot_seconds = told.inter_token_seconds if told else 0.0

    @property
    def load(self) -> Load:
        """What a request that came now would find."""
        return Load(self.queued_tokens, self.running)

    def _trusted_ttft(self, generates: bool) -> TtftFit | None:
        fit = self._fits.ttft(generates)
        if not fit.known:
            fit = self._pool.ttft(generates)
        return fit if fit.trusted else None

    def ttft_seconds(self, generates: bool, uncached_tokens: float) -> float | None:
        """Expected time from dispatch to first token; None while nothing trustworthy is known."""
        fit = self._trusted_ttft(generates)
        return None if fit is None else fit.seconds(uncached_tokens, self.load)

    def tpot_seconds(self) -> float | None:
        """Expected time between tokens with one more request; None while nothing trustworthy is known.

        An engine that measures itself is taken at its word until enough was seen here: a scheduler that has just
        taken over, or been started, would else know nothing of engines that have run for days.
        """
        fit = self._fits.tpot
        if not fit.known:
            fit = self._pool.tpot
        if fit.trusted:
            return fit.seconds(self.running + 1, self.kv_usage)
        return self.told_tpot_seconds or None

    def wait_seconds(self, generates: bool) -> float | None:
        """Expected wait for what is on the engine already; None while nothing trustworthy is known."""
        fit = self._trusted_ttft(generates)
        return None if fit is None else fit.wait_seconds(self.load)

    def prompt_seconds(self) -> float:
        """Expected time to compute the prompts that are on the engine already; 0 while nothing is known."""
        for generates in (True, False):
            fit = self._trusted_ttft(generates)
            if fit is not None:
                return fit.seconds_per_input_token * self.queued_tokens
        return 0.0

    def prefill_seconds(self, generates: bool, tokens: float) -> float | None:
        """Expected time to compute so much of a prompt; None while nothing trustworthy is known."""
        fit = self._trusted_ttft(generates)
        return None if fit is None else fit.seconds_per_input_token * tokens

    def learn_ttft(self, generates: bool, uncached_tokens: float, found: Load, seconds: float) -> None:
        """A request that found this load has begun so long after its dispatch."""
        self._fits.ttft(generates).learn(uncached_tokens, found, seconds)
        if self._pool.samples_this():
            self._pool.ttft(generates).learn(uncached_tokens, found, seconds)

    def learn_tpot(self, mean_running: float, seconds: float) -> None:
        """An answer's tokens came so far apart."""
        self._fits.tpot.learn(mean_running, self.kv_usage, seconds)
        if self._pool.samples_this():
            self._pool.tpot.learn(mean_running, self.kv_usage, seconds)
