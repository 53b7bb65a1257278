"""What one load of streams was measured to cost and to delay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SERVICES = ("gateway", "classifier", "scheduler", "llm-coordinator", "nats")
# Times its step: an engine that was kept from the processor for longer was not the only one.
BUSY_STEPS = 3.0


@dataclass(frozen=True)
class Rung:
    """One load. Times are milliseconds.

    Attributes:
        added_p99_ms: 99th of the gaps less the engine's own.
        step_ms: between two tokens at the engine, as it was told.
        stall_ms: the longest gap less the engine's own longest; None where the machine was too busy to tell.
        cpu_us: processor time of each service for a token.
        token_us: the same of all services together.
    """

    streams: int
    failed: int
    tokens_per_second: float
    gap_p50_ms: float
    gap_p99_ms: float
    gap_max_ms: float
    engine_p99_ms: float
    engine_max_ms: float
    step_ms: float
    cpu_us: Mapping[str, float]
    gateway_peak_mb: float

    @property
    def added_p99_ms(self) -> float:
        return self.gap_p99_ms - self.engine_p99_ms

    @property
    def stall_ms(self) -> float | None:
        busy = self.engine_max_ms > BUSY_STEPS * self.step_ms
        return None if busy else self.gap_max_ms - self.engine_max_ms

    @property
    def token_us(self) -> float:
        return sum(self.cpu_us.values())
