"""What a stream of requests asks of the seats: how often it arrives, in what bursts, and for how long it holds one."""

from __future__ import annotations

from math import exp, sqrt

from sage_control_plane.prediction.pace import DecayedRate

# Seconds and requests after which what was seen counts 1/e.
RATE_SECONDS = 10.0
HOLD_SECONDS = 30.0
# Old holds lose their weight so often.
DECAY_SECONDS = 0.5
GAPS_REMEMBERED = 100.0
LENGTHS_REMEMBERED = 100.0
# Seats given back before what they were held for is known.
LEAST_ENDED = 8.0
# Gaps without an arrival that are as good as never seen while a stream goes on.
SILENT_GAPS = 3.0
# More bursty than this is a single event and no pattern.
MOST_PEAKEDNESS = 8.0
# Below this load a stream has ended, as far as reservation is concerned.
LEAST_LOAD = 1e-3


class Demand:
    """One stream, as seen lately.

    Attributes:
        patience_seconds: mean time that a request can wait for a seat.
        arrived_at: when the last one came; None before the first.
        tpot_ms: target of the last streamed one for the time between tokens; 0 for none.
        tpot_at: when that came.
        running: requests that hold a seat.
        output_tokens: mean length of the answers; 0 while none has ended, or where nothing is generated.
    """

    __slots__ = (
        "_at",
        "_decayed_at",
        "_ended",
        "_gap",
        "_gap_square",
        "_lengths",
        "_rate",
        "_seat_seconds",
        "_seen",
        "arrived_at",
        "output_tokens",
        "patience_seconds",
        "running",
        "tpot_at",
        "tpot_ms",
    )

    def __init__(self) -> None:
        self._rate = DecayedRate(RATE_SECONDS)
        self._gap = 0.0
        self._gap_square = 0.0
        self._seen = 0.0
        self._at = 0.0
        self._decayed_at = 0.0
        self._seat_seconds = 0.0
        self._ended = 0.0
        self._lengths = 0.0
        self.patience_seconds = 0.0
        self.arrived_at: float | None = None
        self.tpot_ms = 0
        self.tpot_at = 0.0
        self.running = 0
        self.output_tokens = 0.0

    def arrived(self, now: float, patience_seconds: float, tpot_ms: int | None) -> None:
        """Count an arrival that can wait for ``patience_seconds``.

        Args:
            tpot_ms: its target for the time between tokens, 0 for none; None where it is not streamed.
        """
        if tpot_ms is not None:
            self.tpot_ms, self.tpot_at = tpot_ms, now
        self._rate.add(1.0, now)
        if self.arrived_at is None:
            self.patience_seconds = patience_seconds
        else:
            # The mean of all until so many were seen, decayed after that.
            self._seen = min(self._seen + 1.0, GAPS_REMEMBERED)
            gap, step = now - self.arrived_at, 1.0 / self._seen
            self._gap += (gap - self._gap) * step
            self._gap_square += (gap * gap - self._gap_square) * step
            self.patience_seconds += (patience_seconds - self.patience_seconds) * step
        self.arrived_at = now

    def took(self, now: float) -> None:
        """Count a request that has got its seat."""
        self._advance(now)
        self.running += 1

    def gave(self, now: float) -> None:
        """Count a seat that was given back."""
        self._advance(now)
        self.running -= 1
        self._ended += 1.0

    def answered(self, output_tokens: int) -> None:
        """Learn from the length of a complete answer."""
        self._lengths = min(self._lengths + 1.0, LENGTHS_REMEMBERED)
        self.output_tokens += (output_tokens - self.output_tokens) / self._lengths

    def _advance(self, now: float) -> None:
        self._seat_seconds += self.running * (now - self._at)
        self._at = now
        elapsed = now - self._decayed_at
        if elapsed > DECAY_SECONDS:
            kept = exp(-elapsed / HOLD_SECONDS)
            self._seat_seconds *= kept
            self._ended *= kept
            self._decayed_at = now

    def per_second(self, now: float) -> float:
        """Return the arrivals a second, at most: two standard errors above what was seen."""
        rate = self._rate.per_second(now)
        return rate + 2.0 * sqrt(self.peakedness * rate / (2.0 * RATE_SECONDS))

    def present_per_second(self, now: float) -> float:
        """Return those expected at this moment: a burst is over when nothing has come for some of its gaps."""
        rate = self._rate.per_second(now)
        silent = 0.0 if self.arrived_at is None else now - self.arrived_at
        return min(rate, SILENT_GAPS / silent) if silent > 0.0 else rate

    def hold_seconds(self, now: float, seconds_per_token: float) -> float:
        """Return the expected time that a request holds a seat.

        Seconds held, by those that still hold theirs too, for each seat given back: of a new stream only the shortest
        have ended, and their mean alone would be far too small.

        Args:
            seconds_per_token: expected time between tokens; an answer of mean length holds its seat at least so long.
        """
        self._advance(now)
        return max(self._seat_seconds / max(1.0, self._ended), self.output_tokens * seconds_per_token)

    @property
    def is_known(self) -> bool:
        """Whether enough seats were given back lately to say for how long they are held."""
        return self._ended >= LEAST_ENDED

    @property
    def peakedness(self) -> float:
        """Variance to mean of the seats that it would hold if there were always one; 1 for Poisson.

        ``(1 + c²) / 2`` for gaps with the coefficient of variation c: the limit for holding times much longer than the
        gaps (Fredericks, 1980).
        """
        if not self._gap:
            return 1.0
        squared = self._gap_square / (self._gap * self._gap) - 1.0
        return min(MOST_PEAKEDNESS, max(1.0, (1.0 + squared) / 2.0))
