"""The kinds of requests that the mixed load is made of, and how long their prompts and answers are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log
from statistics import NormalDist

from sage_benchmark.simulated_engine.engine_config import EMBEDDING_KINDS, EngineModelConfig
from sage_control_plane.request.request import RequestKind, ServiceClass

_QUANTILES = 4096


@dataclass(frozen=True, slots=True)
class Lengths:
    """Whole numbers around ``median``, from ``low`` to ``high``; ``sigma`` is the deviation of the logarithm."""

    median: float
    sigma: float
    low: int
    high: int

    def draw(self, rng: random.Random) -> int:
        """Draw one."""
        return self.cut(rng.lognormvariate(log(self.median), self.sigma))

    def mean(self) -> float:
        """Expected value, of equally likely quantiles: it needs no randomness."""
        return _mean(self)

    def cut(self, value: float) -> int:
        """Make a length of any number: whole, and within the limits."""
        return max(self.low, min(self.high, round(value)))


# Remembered: every load asks for the means of the same few shapes, many times, and each takes longer than to draw a
# thousand requests.
@lru_cache
def _mean(lengths: Lengths) -> float:
    if not lengths.sigma:
        return lengths.cut(lengths.median)
    normal = NormalDist(log(lengths.median), lengths.sigma)
    values = [lengths.cut(exp(normal.inv_cdf((i + 0.5) / _QUANTILES))) for i in range(_QUANTILES)]
    return sum(values) / len(values)


@dataclass(frozen=True, slots=True)
class Size:
    """How large one request is; see ``Arrival``."""

    input_tokens: int
    output_tokens: int
    items: int


@dataclass(frozen=True, slots=True)
class RequestShape:
    """One kind of request.

    Attributes:
        share: of the offered engine-seconds; relative to the other shapes'.
        inputs: prompt tokens; of each text for embeddings.
        outputs: answer tokens; None for embeddings. Their ``high`` is what clients set as ``max_tokens``.
        items: numbers of texts in an embedding request, each as likely.
    """

    name: str
    kind: RequestKind
    service_class: ServiceClass
    share: float
    inputs: Lengths
    outputs: Lengths | None = None
    items: tuple[int, ...] = (1,)
    streaming: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError for a shape that cannot be."""
        if (self.outputs is None) != (self.kind in EMBEDDING_KINDS):
            raise ValueError(f"shape {self.name!r}: outputs are for generating kinds, and those need them")

    @property
    def max_tokens(self) -> int:
        """The limit on output that clients set."""
        return self.outputs.high if self.outputs else 0

    def draw(self, rng: random.Random) -> Size:
        """Draw the size of one request."""
        items = rng.choice(self.items)
        inputs = sum(self.inputs.draw(rng) for _ in range(items))
        return Size(inputs, self.outputs.draw(rng) if self.outputs else 0, items)

    def mean_engine_seconds(self, config: EngineModelConfig) -> float:
        """Expected cost of one request. The cost is linear in both lengths, so their means are enough."""
        items = sum(self.items) / len(self.items)
        inputs = items * self.inputs.mean()
        if self.outputs is None:
            return config.prompt_seconds(self.kind, 0) + inputs / config.embedding_tokens_per_second
        decoded = self.outputs.mean() - 1
        per_token = config.engine_seconds(self.kind, 0, 2) - config.engine_seconds(self.kind, 0, 1)
        return inputs / config.prefill_tokens_per_second + decoded * per_token


# The mixed load: 35 % chat, 15 % generate, 15 % embedding, 35 % bulk with long outputs, by engine-seconds.
CHAT = RequestShape(
    "chat",
    RequestKind.LLM_CHAT,
    ServiceClass.INTERACTIVE,
    0.35,
    Lengths(220, 0.8, 48, 2000),
    Lengths(120, 0.7, 4, 512),
)
GENERATE = RequestShape(
    "generate",
    RequestKind.LLM_GENERATE,
    ServiceClass.DEFAULT,
    0.15,
    Lengths(450, 0.8, 48, 4000),
    Lengths(220, 0.6, 8, 768),
)
EMBEDDING = RequestShape(
    "embedding",
    RequestKind.EMBEDDING,
    ServiceClass.EMBEDDING,
    0.15,
    Lengths(40, 0.5, 16, 256),
    items=(1, 4, 8, 16, 32),
    streaming=False,
)
BULK = RequestShape(
    "bulk",
    RequestKind.LLM_GENERATE,
    ServiceClass.BULK,
    0.35,
    Lengths(300, 0.6, 48, 2000),
    Lengths(900, 0.4, 256, 2048),
    streaming=False,
)
MIXED: tuple[RequestShape, ...] = (CHAT, GENERATE, EMBEDDING, BULK)


def request_weights(shapes: Sequence[RequestShape], config: EngineModelConfig) -> list[float]:
    """Probabilities of the shapes under which each takes its share of the engine-seconds."""
    weights = [shape.share / shape.mean_engine_seconds(config) for shape in shapes]
    total = sum(weights)
    return [weight / total for weight in weights]


def saturation_rate(shapes: Sequence[RequestShape], config: EngineModelConfig, engines: int) -> float:
    """Requests per second that keep ``engines`` engines exactly busy."""
    weights = request_weights(shapes, config)
    mean = sum(w * shape.mean_engine_seconds(config) for w, shape in zip(weights, shapes, strict=True))
    return engines / mean
