"""The fits of an engine or of a pool, and the prices that come from them."""

from __future__ import annotations

from sage_control_plane.prediction.latency import TpotFit, TtftFit
from sage_control_plane.prediction.settings import PredictionSettings


class LatencyFits:
    """The fits of one engine, or of a pool over all its engines. Vectors and generated text have separate TTFT fits.

    Attributes:
        generating_price: engine-seconds of an uncached input token of a prompt; 0 while there is no estimate.
        vector_price: the same of a text to embed.
        priced_by_answers: whether both prices come from the time between tokens.
        every: the pool's fits learn from one sample in ``every``, since that suffices for typical values.
    """

    __slots__ = (
        "_skipped",
        "every",
        "generating_price",
        "priced_by_answers",
        "tpot",
        "ttft_generating",
        "ttft_vectors",
        "vector_price",
    )

    def __init__(self, settings: PredictionSettings) -> None:
        self.every = 1
        self.generating_price = 0.0
        self.vector_price = 0.0
        self.priced_by_answers = False
        self._skipped = 0
        self.ttft_generating = TtftFit(settings)
        self.ttft_vectors = TtftFit(settings)
        self.tpot = TpotFit(settings)

    @property
    def errors(self) -> dict[str, float | None]:
        """MAPE of each fit; None while it has made no predictions."""
        return {
            "ttft_generating": self.ttft_generating.error.value,
            "ttft_vectors": self.ttft_vectors.error.value,
            "tpot": self.tpot.error.value,
        }

    def samples_this(self) -> bool:
        """Count a sample; return whether to learn from it."""
        self._skipped += 1
        if self._skipped < self.every:
            return False
        self._skipped = 0
        return True

    def ttft(self, generates: bool) -> TtftFit:
        """Return the TTFT fit for a kind of work."""
        return self.ttft_generating if generates else self.ttft_vectors

    def learned(self) -> None:
        """Recompute the prices after a fit has learned; they are read much more often than that.

        They come from the time between tokens of answers that run beside prompts; while there are none, from TTFT. The
        slope of that is no price under load, where an engine fills each step with prompts to the same length.
        """
        tpot, generating, vectors = self.tpot, self.ttft_generating, self.ttft_vectors
        price = tpot.seconds_per_input_token if tpot.known else 0.0
        vector = tpot.seconds_per_vector_token if tpot.known else 0.0
        self.generating_price = price or (generating.seconds_per_input_token if generating.known else 0.0)
        self.priced_by_answers = bool(price and vector)
        self.vector_price = vector or (vectors.seconds_per_input_token if vectors.known else 0.0)


def prompt_weight(fits: LatencyFits, generates: bool) -> float:
    """Return the weight of a token in an engine's queue of prompts, in tokens of generating work.

    A token of a text to embed costs less than one of a prompt for generation.
    """
    if generates:
        return 1.0
    generating, vectors = fits.generating_price, fits.vector_price
    return min(1.0, vectors / generating) if generating and vectors else 1.0
