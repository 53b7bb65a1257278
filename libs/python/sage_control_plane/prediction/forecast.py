"""One engine's load, and predictions of its latencies."""

from __future__ import annotations

from math import exp, pi, sqrt
from typing import NamedTuple

from sage_control_plane.prediction.computed_prompts import ComputedPrompts
from sage_control_plane.prediction.latency import Load, TpotFit, TtftFit
from sage_control_plane.prediction.latency_fits import LatencyFits
from sage_control_plane.prediction.settings import PredictionSettings
from sage_control_plane.request.engine_state import EngineLoad

# The most that the estimated time of prompts may take of the time between tokens; the rest is left to the tokens.
MOST_PROMPTS = 0.8
# What counts as recent: about the time of a short answer, since targets are for the mean over an answer.
RECENT_SECONDS = 2.0
# Weight of the latest answer in the recent throughput.
RECENT_ANSWER = 0.25


class UsageCounters(NamedTuple):
    """An engine's work up to a time.

    Attributes:
        at: the time.
        share_seconds: integral of 1 / decoding answers: the equal share of each in the engine's time.
        decoding_seconds: integral of decoding answers.
        prompts: uncached tokens of computed prompts.
        vectors: tokens embedded.
    """

    at: float = 0.0
    share_seconds: float = 0.0
    decoding_seconds: float = 0.0
    prompts: float = 0.0
    vectors: float = 0.0


class Forecast:
    """An engine's load, current to the last decision, and predictions from it.

    Args:
        pool: fits over all engines of the pool, used until the engine's own have enough samples.

    Attributes:
        running: requests outstanding.
        decoding: answers whose tokens are being generated.
        prompt_share: share of the engine's recent time that prompts took, up to the last computed prompt.
        observed_throughput: tokens of answers from here that it recently generated in a second; 0 before the first.
        reported_tpot_seconds: recent time between tokens as the engine measures it; None when not reported.
    """

    __slots__ = (
        "_at",
        "_computed_at",
        "_computed_prompts",
        "_computed_vectors",
        "_decoding_seconds",
        "_fits",
        "_pool",
        "_prompts",
        "_share_seconds",
        "_vectors",
        "decoding",
        "kv_usage",
        "observed_throughput",
        "prompt_share",
        "queued_tokens",
        "reported_tpot_seconds",
        "running",
    )

    def __init__(self, settings: PredictionSettings, pool: LatencyFits) -> None:
        self._fits = LatencyFits(settings)
        self._pool = pool
        self._at = 0.0
        self._share_seconds = 0.0
        self._decoding_seconds = 0.0
        self._prompts = 0.0
        self._computed_prompts = ComputedPrompts()
        self._computed_vectors = ComputedPrompts()
        self._computed_at = 0.0
        self.prompt_share = 0.0
        self._vectors = 0.0
        self.queued_tokens = 0
        self.running = 0
        self.decoding = 0
        self.kv_usage = 0.0
        self.observed_throughput = 0.0
        self.reported_tpot_seconds: float | None = None

    def advance(self, now: float) -> None:
        """Bring the counters up to ``now``. Call it before the load changes."""
        elapsed = now - self._at
        if elapsed > 0:
            if self.decoding:
                self._share_seconds += elapsed / self.decoding
                self._decoding_seconds += elapsed * self.decoding
            self._at = now

    def update_load(self, reported: EngineLoad | None) -> None:
        """Take the engine's measurements of its load; None when there are no recent ones.

        Its mean time to first token is not used as a prediction: it does not change with the requests dispatched, so a
        whole burst would go to the engine whose last few were fastest.
        """
        self.kv_usage = 0.0 if reported is None else reported.kv_cache_usage
        self.reported_tpot_seconds = None if reported is None else reported.inter_token_seconds

    @property
    def half_a_prompt_seconds(self) -> float:
        """Half the time of a prompt, as a mean weighted by length."""
        prompts, prompt_squares = self._computed_prompts.moments(self.seconds_per_input_token(True))
        vectors, vector_squares = self._computed_vectors.moments(self.seconds_per_input_token(False))
        seconds = prompts + vectors
        return (prompt_squares + vector_squares) / (2.0 * seconds) if seconds else 0.0

    def computed(self, generates: bool, tokens: float) -> None:
        """Count computed input tokens of a request. Requires ``advance`` before."""
        seconds = self.seconds_per_input_token(generates) * tokens
        elapsed = self._at - self._computed_at
        self._computed_at = self._at
        self.prompt_share = self.prompt_share * exp(-elapsed / RECENT_SECONDS) + seconds / RECENT_SECONDS
        if generates:
            self._prompts += tokens
            self._computed_prompts.add(tokens, self._at)
        else:
            self._vectors += tokens
            self._computed_vectors.add(tokens, self._at)

    @property
    def usual_prompt_share(self) -> float:
        """Share of the engine's time that prompts usually take; at most ``MOST_PROMPTS``."""
        prompts = self._computed_prompts.share(self.seconds_per_input_token(True), self._at)
        return min(MOST_PROMPTS, prompts + self._computed_vectors.share(self.seconds_per_input_token(False), self._at))

    @property
    def counters(self) -> UsageCounters:
        """The work so far."""
        return UsageCounters(self._at, self._share_seconds, self._decoding_seconds, self._prompts, self._vectors)

    @property
    def load(self) -> Load:
        """The present load, as a new request finds it."""
        return Load(self.queued_tokens, self.running)

    def _trusted_ttft(self, generates: bool) -> TtftFit | None:
        # On the path of each decision, several times, and twice as fast without the call.
        fit = self._fits.ttft_generating if generates else self._fits.ttft_vectors
        if not fit.known:
            fit = self._pool.ttft_generating if generates else self._pool.ttft_vectors
        return fit if fit.trusted else None

    def ttft_seconds(self, generates: bool, uncached_tokens: float) -> float | None:
        """Return the expected time from dispatch to first token; None without a trusted fit."""
        fit = self._trusted_ttft(generates)
        return None if fit is None else fit.seconds(uncached_tokens, self.load)

    def step_seconds(self, decoding: float) -> float | None:
        """Return the time between tokens of ``decoding`` answers without prompts; None without a trusted fit."""
        fit = self._trusted_tpot()
        return None if fit is None else fit.step_seconds(decoding, self.kv_usage)

    def prompt_share_deviation(self, over_seconds: float) -> float:
        """Return the standard deviation of the share of a time that prompts take: a compound Poisson process."""
        return sqrt(self.usual_prompt_share * 2.0 * self.half_a_prompt_seconds / over_seconds)

    @property
    def tpot_deviation(self) -> float:
        """Relative standard deviation of the time between tokens from what is predicted beside the same prompts."""
        fit = self._trusted_tpot()
        # Of normal errors the deviation is so many times the mean size.
        return sqrt(pi / 2.0) * (fit.error.value or 0.0) if fit is not None else 0.0

    def batch_within(self, tpot_seconds: float, more_prompts: float = 0.0) -> float | None:
        """Return with how many requests the time between tokens is met, beside prompts as there were lately.

        A request whose prompt is being computed takes a part of the time, and none of the steps.
        None without a trusted fit. Below 1 it is not met by any. ``more_prompts``: share of the time beyond the usual.
        """
        fit, prompts = self._trusted_tpot(), self.usual_prompt_share
        step = tpot_seconds * (1.0 - min(MOST_PROMPTS, prompts + more_prompts))
        return None if fit is None else fit.most_decoding(step, self.kv_usage) + prompts

    def _trusted_tpot(self) -> TpotFit | None:
        fit = self._fits.tpot
        if not fit.known:
            fit = self._pool.tpot
        return fit if fit.trusted else None

    def pace_seconds(self, decoding: int) -> float | None:
        """Return the expected time between tokens of so many answers beside prompts as there were lately.

        None without a trusted fit.
        """
        step = self.step_seconds(decoding)
        return None if step is None else step / (1.0 - self.usual_prompt_share)

    def tpot_seconds(self) -> float | None:
        """Return the expected time between tokens with one more answer and the queued prompts; None when not known.

        Without a trusted fit it is the engine's own measurement: a scheduler that has just started or taken over has no
        samples of engines that have run for days.
        """
        step = self.step_seconds(self.decoding + 1)
        return self.reported_tpot_seconds if step is None else step + self.prompt_seconds()

    def wait_seconds(self, generates: bool) -> float | None:
        """Return the expected wait caused by the engine's present load; None without a trusted fit."""
        fit = self._trusted_ttft(generates)
        return None if fit is None else fit.wait_seconds(self.load)

    def prompt_seconds(self) -> float:
        """Return the expected time to compute the queued prompts; 0 while there is no estimate."""
        return self.seconds_per_input_token(True) * self.queued_tokens if self.queued_tokens else 0.0

    def prefill_seconds(self, generates: bool, tokens: float) -> float | None:
        """Return the expected time to compute ``tokens`` of a prompt; None while there is no estimate."""
        return self.seconds_per_input_token(generates) * tokens or None

    def seconds_per_input_token(self, generates: bool) -> float:
        """Return the engine-seconds of an uncached input token; 0 while there is no estimate."""
        own, pool = self._fits, self._pool
        return (own.generating_price or pool.generating_price) if generates else own.vector_price or pool.vector_price

    def learn_ttft(self, generates: bool, uncached_tokens: float, load_at_dispatch: Load, seconds: float) -> None:
        """Learn from a request's seconds from dispatch to first token."""
        for fits in (self._fits, self._pool) if self._pool.samples_this() else (self._fits,):
            fits.ttft(generates).learn(uncached_tokens, load_at_dispatch, seconds)
            if not fits.priced_by_answers:
                fits.learned()

    def learn_answer(self, since: UsageCounters, output_tokens: int) -> None:
        """Learn from a complete answer. Requires ``advance`` before.

        Args:
            since: the counters when it began, which must be earlier than now.
            output_tokens: > 1.
        """
        between, streamed_seconds = output_tokens - 1, self._at - since.at
        decoding = (self._decoding_seconds - since.decoding_seconds) / streamed_seconds
        prompts, vectors = self._prompts - since.prompts, self._vectors - since.vectors
        seconds, observed = streamed_seconds / between, self.observed_throughput
        self.observed_throughput += (decoding / seconds - observed) * (RECENT_ANSWER if observed else 1.0)
        sample = (decoding, self.kv_usage, prompts / between, vectors / between, seconds)
        for fits in (self._fits, self._pool) if self._pool.samples_this() else (self._fits,):
            fits.tpot.learn(*sample)
            fits.learned()

    def share_since(self, since: UsageCounters) -> float:
        """Return a decoding answer's equal share of the engine's time since then, without the time of prompts."""
        prompts, vectors = self._prompts - since.prompts, self._vectors - since.vectors
        busy = prompts * self.seconds_per_input_token(True) + vectors * self.seconds_per_input_token(False)
        own = 1.0 - min(MOST_PROMPTS, busy / (self._at - since.at))
        return (self._share_seconds - since.share_seconds) * own
