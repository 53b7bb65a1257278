"""Chats beside bulk work at stated rates, whatever the engines can do: the load of the benchmarks on real engines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.load_settings import WARM_UP_LOAD
from sage_benchmark.workload.mixed_load import POISSON, arrival_times, equal_tenants
from sage_benchmark.workload.request_shapes import Lengths, RequestShape
from sage_control_plane.request.request import RequestKind, ServiceClass

CHAT_PROMPT = Lengths(16, 0.4, 8, 64)
BULK_PROMPT = Lengths(24, 0.4, 8, 64)


@dataclass(frozen=True, slots=True)
class ClassRates:
    """A workload of two classes, to be generated from a seed; both are streamed.

    Attributes:
        load: multiple of the rates.
        chat_rate, bulk_rate: requests a second for each engine.
        chat_tokens, bulk_tokens: length of every answer.
        cv: coefficient of variation of the gaps between a tenant's arrivals of one class; 1 is Poisson.
    """

    engines: int = 1
    seconds: float = 50.0
    load: float = 1.0
    chat_rate: float = 2.0
    bulk_rate: float = 0.45
    chat_tokens: int = 24
    bulk_tokens: int = 220
    cv: float = POISSON
    tenants: int = 1

    def arrivals(self, config: EngineModelConfig, seed: int) -> list[Arrival]:
        """Return the arrivals, in order of time. They depend on the seed and these settings only."""
        drawn = [
            arrival
            for shape, rate in self._shapes()
            for tenant in equal_tenants(self.tenants, 1.0)
            for arrival in self._drawn(shape, rate / self.tenants, tenant.name, seed)
        ]
        drawn.sort(key=lambda arrival: (arrival.at_seconds, arrival.tenant))
        return [replace(arrival, index=index) for index, arrival in enumerate(drawn)]

    def warm_up(self, seconds: float) -> ClassRates:
        """A short run at half of the rates."""
        return replace(self, seconds=seconds, load=WARM_UP_LOAD)

    def describe(self) -> dict[str, Any]:
        """As settings of a report."""
        return {
            "workload": f"for each engine {self.chat_rate:g} chats/s with answers of {self.chat_tokens} tokens and "
            f"{self.bulk_rate:g} bulk completions/s with answers of {self.bulk_tokens}; prompts of some 16 and 24 "
            "tokens; all streamed",
            "cv": self.cv,
            "engines": self.engines,
            "seconds": self.seconds,
            "load": self.load,
            "tenants": self.tenants,
        }

    def _shapes(self) -> Iterator[tuple[RequestShape, float]]:
        scale = self.engines * self.load
        for name, kind, service_class, prompt, tokens, rate in (
            ("chat", RequestKind.LLM_CHAT, ServiceClass.INTERACTIVE, CHAT_PROMPT, self.chat_tokens, self.chat_rate),
            ("bulk", RequestKind.LLM_GENERATE, ServiceClass.BULK, BULK_PROMPT, self.bulk_tokens, self.bulk_rate),
        ):
            if rate > 0:
                yield RequestShape(name, kind, service_class, rate, prompt, _exactly(tokens)), rate * scale

    def _drawn(self, shape: RequestShape, rate: float, tenant: str, seed: int) -> Iterator[Arrival]:
        rng = random.Random(f"{seed}:{shape.name}:{tenant}")
        for at in arrival_times(rng, rate, self.seconds, self.cv):
            size = shape.draw(rng)
            yield Arrival(
                0,
                at,
                shape.kind,
                tenant,
                size.input_tokens,
                size.output_tokens,
                shape.service_class,
                shape.max_tokens,
                streaming=shape.streaming,
            )


def _exactly(tokens: int) -> Lengths:
    return Lengths(tokens, 0.0, tokens, tokens)
