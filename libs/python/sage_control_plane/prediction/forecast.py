"""What is on one engine, and what may be expected of it."""

from __future__ import annotations

from math import exp
from typing import NamedTuple

from sage_control_plane.prediction.latency import Load, TpotFit, TtftFit
from sage_control_plane.prediction.settings import PredictionSettings
from sage_control_plane.request.engine_state import EngineLoad

# What prompts have taken of the time between tokens is an estimate; the rest at least is left to the tokens.
MOST_PROMPTS = 0.8
# Weight of a prompt's size after the next one.
PROMPT_MEMORY = 0.99
# "Of late": about as long as a short answer takes, since targets are for the mean over an answer.
RECENT_SECONDS = 2.0


class LatencyFits:
    """The fits of one engine, or of a pool over all its engines. Vectors and generated text begin differently.

    Attributes:
        priced_by_answers: whether both prices come from the time between tokens.
        every: the pool's fits learn from one sample in so many: what is typical needs no more, however many engines.
    """

    __slots__ = (
        "_generating_price",
        "_skipped",
        "_vector_price",
        "every",
        "priced_by_answers",
        "tpot",
        "ttft_generating",
        "ttft_vectors",
    )

    def __init__(self, settings: PredictionSettings) -> None:
        self.every = 1
        self._generating_price = 0.0
        self._vector_price = 0.0
        self.priced_by_answers = False
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

    def seconds_per_input_token(self, generates: bool) -> float:
        """What an uncached input token takes of an engine; 0 while nothing is known."""
        return self._generating_price if generates else self._vector_price

    def learned(self) -> None:
        """A fit has learned: take the prices from it, for they are asked for much more often.

        From the time between tokens that go on beside the prompts where there are such, else from that to first tokens.
        """
        tpot, generating, vectors = self.tpot, self.ttft_generating, self.ttft_vectors
        price = tpot.seconds_per_input_token if tpot.known else 0.0
        self._generating_price = price or (generating.seconds_per_input_token if generating.known else 0.0)
        vector = tpot.seconds_per_vector_token if tpot.known else 0.0
        self.priced_by_answers = bool(price and vector)
        self._vector_price = vector or (vectors.seconds_per_input_token if vectors.known else 0.0)


def prompt_weight(fits: LatencyFits, generates: bool) -> float:
    """Return how much a token of a kind of work counts in an engine's queue of prompts, in tokens of generating work.

    A text to embed costs a part of what a prompt costs that is to be answered.
    """
    if generates:
        return 1.0
    generating, vectors = fits.seconds_per_input_token(True), fits.seconds_per_input_token(False)
    return min(1.0, vectors / generating) if generating and vectors else 1.0


class UsageCounters(NamedTuple):
    """How much an engine has done up to some moment.

    Attributes:
        at: the moment.
        share_seconds: integral of 1 / answers under way: the time that is each one's equal share.
        decoding_seconds: integral of answers under way.
        prompts: uncached tokens of prompts computed.
        vectors: tokens embedded.
    """

    at: float = 0.0
    share_seconds: float = 0.0
    decoding_seconds: float = 0.0
    prompts: float = 0.0
    vectors: float = 0.0


class Forecast:
    """An engine's load, kept with each decision, and predictions from it.

    Args:
        pool: fits over all engines of the pool, used until the engine's own know enough.

    Attributes:
        running: requests outstanding.
        decoding: answers whose tokens are coming.
        prompt_share: share of the engine's time that prompts have taken of late, up to the last that was computed.
        told_tpot_seconds: time between tokens of late, as the engine itself measures it; 0 when it does not tell.
    """

    __slots__ = (
        "_at",
        "_computed_at",
        "_decoding_seconds",
        "_fits",
        "_pool",
        "_prompt_sizes",
        "_prompt_squares",
        "_prompts",
        "_share_seconds",
        "_vectors",
        "decoding",
        "kv_usage",
        "prompt_share",
        "queued_tokens",
        "running",
        "told_tpot_seconds",
    )

    def __init__(self, settings: PredictionSettings, pool: LatencyFits) -> None:
        self._fits = LatencyFits(settings)
        self._pool = pool
        self._at = 0.0
        self._share_seconds = 0.0
        self._decoding_seconds = 0.0
        self._prompts = 0.0
        self._prompt_sizes = 0.0
        self._computed_at = 0.0
        self.prompt_share = 0.0
        self._prompt_squares = 0.0
        self._vectors = 0.0
        self.queued_tokens = 0
        self.running = 0
        self.decoding = 0
        self.kv_usage = 0.0
        self.told_tpot_seconds = 0.0

    def advance(self, now: float) -> None:
        """Count up to now; to be called before the load changes."""
        elapsed = now - self._at
        if elapsed > 0:
            if self.decoding:
                self._share_seconds += elapsed / self.decoding
                self._decoding_seconds += elapsed * self.decoding
            self._at = now

    def update_load(self, told: EngineLoad | None) -> None:
        """Take in what the engine says of itself; None when it has not of late.

        Its mean time to first token is no prediction: it stays the same however many requests are sent there, so that
        a burst would all go to the engine whose last few were quickest, or to the one that has served any.
        """
        self.kv_usage = told.kv_cache_usage if told else 0.0
        self.told_tpot_seconds = told.inter_token_seconds if told else 0.0

    @property
    def half_a_prompt_seconds(self) -> float:
        """Half the time that a prompt takes, each counted as often as it is long."""
        return self._prompt_squares / (2.0 * self._prompt_sizes) if self._prompt_sizes else 0.0

    def computed(self, generates: bool, tokens: float) -> None:
        """So many input tokens of a request have been computed; ``advance`` comes before."""
        seconds = self.seconds_per_input_token(generates) * tokens
        kept = exp((self._computed_at - self._at) / RECENT_SECONDS)
        self._computed_at = self._at
        self.prompt_share = self.prompt_share * kept + seconds / RECENT_SECONDS
        self._prompt_sizes = self._prompt_sizes * PROMPT_MEMORY + seconds
        self._prompt_squares = self._prompt_squares * PROMPT_MEMORY + seconds * seconds
        if generates:
            self._prompts += tokens
        else:
            self._vectors += tokens

    @property
    def counters(self) -> UsageCounters:
        """How much it has done so far."""
        return UsageCounters(self._at, self._share_seconds, self._decoding_seconds, self._prompts, self._vectors)

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

    def step_seconds(self, decoding: int) -> float | None:
        """Expected time between tokens of so many answers while no prompt is computed.

        None while nothing trustworthy is known.
        """
        fit = self._fits.tpot
        if not fit.known:
            fit = self._pool.tpot
        return fit.step_seconds(decoding, self.kv_usage) if fit.trusted else None

    def tpot_seconds(self) -> float | None:
        """Expected time between tokens with one more answer and the prompts that wait; None as for ``step_seconds``.

        An engine that measures itself is taken at its word until enough was seen here: a scheduler that has just
        taken over, or been started, would else know nothing of engines that have run for days.
        """
        step = self.step_seconds(self.decoding + 1)
        return self.told_tpot_seconds or None if step is None else step + self.prompt_seconds()

    def wait_seconds(self, generates: bool) -> float | None:
        """Expected wait for what is on the engine already; None while nothing trustworthy is known."""
        fit = self._trusted_ttft(generates)
        return None if fit is None else fit.wait_seconds(self.load)

    def prompt_seconds(self) -> float:
        """Expected time to compute the prompts that are on the engine already; 0 while nothing is known."""
        return self.seconds_per_input_token(True) * self.queued_tokens if self.queued_tokens else 0.0

    def prefill_seconds(self, generates: bool, tokens: float) -> float | None:
        """Expected time to compute so much of a prompt; None while nothing is known."""
        return self.seconds_per_input_token(generates) * tokens or None

    def seconds_per_input_token(self, generates: bool) -> float:
        """What an uncached input token takes of the engine; 0 while nothing is known."""
        return self._fits.seconds_per_input_token(generates) or self._pool.seconds_per_input_token(generates)

    def learn_ttft(self, generates: bool, uncached_tokens: float, load_at_dispatch: Load, seconds: float) -> None:
        """A request that found this load has begun so long after its dispatch."""
        for fits in (self._fits, self._pool) if self._pool.samples_this() else (self._fits,):
            fits.ttft(generates).learn(uncached_tokens, load_at_dispatch, seconds)
            if not fits.priced_by_answers:
                fits.learned()

    def learn_answer(self, since: UsageCounters, output_tokens: int) -> None:
        """An answer is complete; ``advance`` comes before.

        Args:
            since: the counters when it began; not now.
            output_tokens: > 1.
        """
        between, streamed_seconds = output_tokens - 1, self._at - since.at
        decoding = (self._decoding_seconds - since.decoding_seconds) / streamed_seconds
        prompts, vectors = self._prompts - since.prompts, self._vectors - since.vectors
        sample = (decoding, self.kv_usage, prompts / between, vectors / between, streamed_seconds / between)
        for fits in (self._fits, self._pool) if self._pool.samples_this() else (self._fits,):
            fits.tpot.learn(*sample)
            fits.learned()

    def share_since(self, since: UsageCounters) -> float:
        """Seconds of the engine's time that each answer under way has had since then, prompts left out."""
        prompts, vectors = self._prompts - since.prompts, self._vectors - since.vectors
        busy = prompts * self.seconds_per_input_token(True) + vectors * self.seconds_per_input_token(False)
        own = 1.0 - min(MOST_PROMPTS, busy / (self._at - since.at))
        return (self._share_seconds - since.share_seconds) * own
