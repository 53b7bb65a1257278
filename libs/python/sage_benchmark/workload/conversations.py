"""Conversations of several turns behind shared system prompts: the load that prefix caches are for."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from statistics import fmean
from typing import Any, Final

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.workload.arrival import Arrival, Turn
from sage_benchmark.workload.load_settings import WARM_UP_LOAD
from sage_benchmark.workload.mixed_load import POISSON, arrival_times
from sage_benchmark.workload.rendered_request import PROMPT_TOKENS_OF_ANSWER_TOKEN
from sage_benchmark.workload.request_shapes import Lengths
from sage_control_plane.request.request import RequestKind, ServiceClass

_SAMPLE: Final = 400
# Of the words that prompts are rendered in, for 16 tokens: a block of vLLM's.
BLOCK_TOKENS: Final = 16
BLOCK_BYTES: Final = 104


@dataclass(frozen=True, slots=True)
class ConversationShape:
    """What conversations are like.

    Attributes:
        prompts: system prompts; a conversation begins with one of them, the first ones oftener (as 1, 1/2, 1/3, ...).
        prompt_tokens: length of each.
        turns: questions of a conversation.
        questions, answers: their lengths in tokens.
        pause_seconds: between two questions of a conversation.
    """

    prompts: int = 8
    prompt_tokens: int = 1_536
    turns: Lengths = field(default_factory=lambda: Lengths(5, 0.6, 1, 16))
    questions: Lengths = field(default_factory=lambda: Lengths(60, 0.8, 12, 600))
    answers: Lengths = field(default_factory=lambda: Lengths(60, 0.6, 8, 240))
    pause_seconds: Lengths = field(default_factory=lambda: Lengths(6, 0.5, 2, 30))


@dataclass(frozen=True, slots=True)
class Conversations:
    """A workload, to be generated from a seed.

    A question is asked at its time whether the answer before it has come or not: the load is the same for all systems.
    What its prompt holds of earlier answers is what any engine has answered.

    Attributes:
        load: offered, as a multiple of what saturates the engines if nothing is cached.
        cv: coefficient of variation of the gaps between beginnings; 1 is Poisson.
        tells_session: whether each request names its conversation (``prompt_cache_key``).
    """

    engines: int = 3
    seconds: float = 60.0
    load: float = 1.0
    cv: float = POISSON
    tenants: int = 3
    tells_session: bool = False
    shape: ConversationShape = ConversationShape()

    def arrivals(self, config: EngineModelConfig, seed: int) -> list[Arrival]:
        """Return the arrivals, in order of time. They depend on the seed and these settings only."""
        rng = random.Random(f"conversations:{seed}")
        rate = self.load * self.engines / _mean_seconds(self.shape, config)
        found: list[Arrival] = []
        for number, began_at in enumerate(arrival_times(rng, rate, self.seconds, self.cv)):
            tenant = f"tenant-{rng.randrange(self.tenants) + 1}"
            own = random.Random(f"conversation:{seed}:{number}")
            for arrival in _turns(self.shape, own, f"c{number}", tenant, began_at):
                if arrival.at_seconds < self.seconds:
                    found.append(replace(arrival, tells_session=self.tells_session))
        found.sort(key=lambda arrival: (arrival.at_seconds, arrival.conversation))
        return [replace(arrival, index=index) for index, arrival in enumerate(found)]

    def warm_up(self, seconds: float) -> Conversations:
        """A short run at half of the load that saturates."""
        return replace(self, seconds=seconds, load=WARM_UP_LOAD)

    def describe(self) -> dict[str, Any]:
        """As settings of a report."""
        shape = self.shape
        return {
            "workload": f"conversations of some {shape.turns.median:g} turns, {shape.pause_seconds.median:g} s apart, "
            f"behind one of {shape.prompts} system prompts of {shape.prompt_tokens} tokens; questions and answers of "
            f"some {shape.questions.median:g} and {shape.answers.median:g} tokens",
            "each request": "names its conversation (`prompt_cache_key`)" if self.tells_session else "names none",
            "cv": self.cv,
            "engines": self.engines,
            "seconds": self.seconds,
            "load": self.load,
            "tenants": self.tenants,
        }


def _turns(shape: ConversationShape, rng: random.Random, name: str, tenant: str, began_at: float) -> Iterator[Arrival]:
    prompts = range(shape.prompts)
    prompt = rng.choices(prompts, [1 / (1 + number) for number in prompts])[0]
    at, tokens = began_at, shape.prompt_tokens
    turns: tuple[Turn, ...] = ()
    for _ in range(shape.turns.draw(rng)):
        asked, answered = shape.questions.draw(rng), shape.answers.draw(rng)
        tokens += asked
        yield Arrival(
            0,
            at,
            RequestKind.LLM_CHAT,
            tenant,
            tokens,
            answered,
            ServiceClass.INTERACTIVE,
            answered,
            prefix_group=f"prompt-{prompt}",
            prefix_tokens=shape.prompt_tokens,
            conversation=name,
            turns=(*turns, Turn(asked, answered)),
        )
        turns = (*turns, Turn(asked, answered))
        tokens += answered * PROMPT_TOKENS_OF_ANSWER_TOKEN
        at += rng.uniform(0.5, 1.5) * shape.pause_seconds.draw(rng)


@lru_cache
def _mean_seconds(shape: ConversationShape, config: EngineModelConfig) -> float:
    """Engine-seconds of a conversation of which nothing is cached."""
    rng = random.Random("mean")
    return fmean(
        sum(config.engine_seconds(a.kind, a.input_tokens, a.output_tokens) for a in _turns(shape, rng, "", "", 0.0))
        for _ in range(_SAMPLE)
    )
