"""How many streams ``sage bench streams`` opens, how fast they are, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StreamsPlan:
    """How much to measure.

    Attributes:
        streams: of the load that is held against the bars of gaps and memory.
        gap_ms: between two tokens of a stream at the engine.
        seconds: how long each stream of that load lasts, and those of the ladder.
        ladder: numbers of streams, each higher than the one before; the rest is left out once gaps have grown too far.
        cost_rates: tokens a second at which the processor time of a token is measured.
        cost_gap_ms: between two tokens of a stream there.
    """

    streams: int = 500
    gap_ms: float = 50.0
    seconds: float = 20.0
    ladder: tuple[int, ...] = (100, 250, 500, 750, 1000, 1400, 1800, 2200)
    ladder_seconds: float = 8.0
    ramp_seconds: float = 4.0
    cost_rates: tuple[int, ...] = (2_000, 10_000)
    cost_gap_ms: float = 10.0
    cost_seconds: float = 10.0
    cost_ramp_seconds: float = 0.5

    def parts(self) -> tuple[StreamsPart, StreamsPart, StreamsPart]:
        """Return what is measured, in this order: the load held against bars, the ladder, and the costs."""
        costs = tuple(max(1, round(rate * self.cost_gap_ms / 1e3)) for rate in self.cost_rates)
        return (
            StreamsPart(self.gap_ms, self.seconds, self.ramp_seconds, (self.streams,)),
            StreamsPart(self.gap_ms, self.ladder_seconds, self.ramp_seconds, self.ladder),
            StreamsPart(self.cost_gap_ms, self.cost_seconds, self.cost_ramp_seconds, costs),
        )


@dataclass(frozen=True)
class StreamsPart:
    """Loads of one kind of stream.

    Attributes:
        gap_ms: between two tokens of a stream at the engine.
        seconds: how long a stream lasts.
        ramp_seconds: over which they are opened.
        levels: numbers of streams, measured one after the other.
    """

    gap_ms: float
    seconds: float
    ramp_seconds: float
    levels: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """How many tokens a stream has."""
        return max(2, round(self.seconds * 1e3 / self.gap_ms))
