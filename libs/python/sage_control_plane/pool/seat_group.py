"""Engines that share work, the seats on them, and how many of these are kept for more urgent work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp

from sage_control_plane.policies.bands import LEVELS, Band, level_of
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.offered_load import OfferedLoad
from sage_control_plane.prediction.demand import LEAST_LOAD, Demand
from sage_control_plane.prediction.erlang import seats_worth_keeping

# How long a computed reservation holds.
FRESH_SECONDS = 0.25
# For how long after the last request with a target between tokens batches are kept small enough for another.
TPOT_SECONDS = 120.0
# Seats of each engine that bulk work may hold before the pace of its engines is known.
FEW_PER_ENGINE = 1
# Engines of a group that are asked for their pace: enough for a mean.
ENGINES_ASKED = 16

Absorbs = Callable[[float, float], float]

_BULK = level_of(Band.BULK, late=False)


class SeatGroup:
    """Engines that share work, directly or through others, and the seats on them.

    Attributes:
        entries: the engines.
        capacity: seats of those that are usable.
        held: seats held, by level; one that is given back within the patience of more urgent work counts in part.
        holders: attempts that hold one, by level.
        demands: the streams of requests to it, by band.
        steady: requests up to which bulk work may fill it; None for no such limit. See ``EngineEntry.steady``.
    """

    __slots__ = (
        "_computed_at",
        "_kept",
        "_lent",
        "_reserved",
        "capacity",
        "demands",
        "entries",
        "held",
        "holders",
        "patience_seconds",
        "steady",
    )

    def __init__(self, entries: list[EngineEntry]) -> None:
        self.entries = entries
        self.capacity = 0
        self.held = [0.0] * LEVELS
        self.holders = [0] * LEVELS
        self.demands: list[list[Demand]] = [[] for _ in Band]
        self.patience_seconds = 0.0
        self._reserved = [0] * LEVELS
        self._kept = 0
        self._lent = 0
        self.steady: int | None = None
        self._computed_at = float("-inf")

    def join(self, entry: EngineEntry) -> None:
        """Take an engine in that has no attempts and no capacity yet; what was computed for fewer no longer holds."""
        self.entries.append(entry)
        self.patience_seconds = 0.0
        self._reserved = [0] * LEVELS
        self._lent = 0
        self.steady = None
        self._computed_at = float("-inf")

    def add(self, attempt: DispatchedAttempt) -> None:
        """Count an attempt's seat."""
        level = attempt.level
        self.holders[level] += 1
        self.held[level] += attempt.seat or 0.0
        self._kept += level >= _BULK and attempt.keeps_seat

    def remove(self, attempt: DispatchedAttempt) -> None:
        """Undo ``add``."""
        level = attempt.level
        self.holders[level] -= 1
        self._kept -= level >= _BULK and attempt.keeps_seat
        # Parts of seats do not add up exactly, so what is left of them ends with the last holder.
        self.held[level] = max(0.0, self.held[level] - (attempt.seat or 0.0)) if self.holders[level] else 0.0

    def reserved(self, level: int, now: float, prices: Sequence[float], absorbs: Absorbs) -> float:
        """Return the seats that are left to the levels before ``level``; bulk work leaves out those lent to it."""
        if not 0.0 <= now - self._computed_at < FRESH_SECONDS:
            self._compute(now, prices, absorbs)
            self._computed_at = now
        return max(0.0, self._reserved[level] - self.lent) if level >= _BULK else self._reserved[level]

    @property
    def lent(self) -> float:
        """Seats that bulk work may hold because it gives them back, as far as what holds seats now does."""
        holders = self.holders[_BULK] + self.holders[_BULK + 1]
        return self._lent * (1.0 - self._kept / holders) if self._kept else self._lent

    @property
    def lent_and_held(self) -> float:
        """Seats that bulk work holds and gives back."""
        return min(self.lent, sum(self.held[_BULK:]))

    def _compute(self, now: float, prices: Sequence[float], absorbs: Absorbs) -> None:
        # Answers take longest when all seats are taken, and then the reservation counts.
        seconds_per_token = self._seconds_per_token_when_full()
        usable = [entry for entry in self.entries if entry.capacity]
        learning = not all(entry.pace_known for entry in usable) and self.tightest(now) is not None
        self.patience_seconds = 0.0
        self._lent = 0
        limited = any(entry.steady is not None for entry in usable)
        steady = (entry.capacity if entry.steady is None else entry.steady for entry in usable)
        self.steady = sum(steady) if limited else None
        before = OfferedLoad()
        held = 0.0
        for band, streams in zip(Band, self.demands, strict=True):
            fresh, late = level_of(band, late=False), level_of(band, late=True)
            own, present = OfferedLoad(), OfferedLoad()
            for stream in streams:
                hold = stream.hold_seconds(now, seconds_per_token)
                own.add(stream, stream.per_second(now), hold)
                present.add(stream, stream.present_per_second(now), hold)
            # Fresh requests leave room for the bands before theirs, late ones for the fresh of their own too, where one
            # of them would make more of these late than it is itself.
            delays = self._delays_others(present)
            for level, offered in ((fresh, before), (late, before + present if delays else before)):
                self._reserved[level] = 0
                if offered.load > LEAST_LOAD:
                    # Of a band that is new, nothing is known yet: it is taken to hold seats as long as the others do.
                    hold = own.load / own.rate if own.load else offered.hold_seconds
                    question = (
                        offered.during(hold, held),
                        offered.hold_seconds,
                        offered.patience_seconds,
                        self.capacity,
                        offered.peakedness,
                        prices[band] / hold,
                    )
                    self._reserved[level] = seats_worth_keeping(*question)
                    if level == _BULK:
                        self._lent = self._reserved[level] - seats_worth_keeping(*question, absorbs(now, hold))
                held += self.held[level]
            before += own
            if learning and band == Band.BULK:
                # Until it is known how the pace falls with the batch, bulk work shows it, and no more.
                few = self.capacity - FEW_PER_ENGINE * len(usable)
                self._reserved[fresh], self._lent = max(self._reserved[fresh], few), 0
            if before.load > LEAST_LOAD and not self.patience_seconds:
                self.patience_seconds = before.patience_seconds

    def _delays_others(self, fresh: OfferedLoad) -> bool:
        """Return whether a late request that takes a seat now makes more than one fresh one of its band late.

        What it takes of the seats is made up for in ``hold / (seats × (1 - load / seats))``. Who comes until then finds
        them all taken and waits for the next end; the ends are ``hold / seats`` apart, so it waits for longer than its
        patience with the probability ``exp(-patience × seats / hold)``.
        """
        if not fresh.load or not self.capacity:
            return False
        used = fresh.load / self.capacity
        missed = exp(-fresh.patience_seconds * self.capacity / fresh.hold_seconds)
        return used >= 1.0 or used * missed > 1.0 - used

    def tightest(self, now: float) -> Demand | None:
        """Return the stream with the smallest target for the time between tokens of those of late; None without any."""
        timed = (
            stream
            for streams in self.demands
            for stream in streams
            if stream.tpot_ms and now - stream.tpot_at < TPOT_SECONDS
        )
        return min(timed, key=lambda stream: stream.tpot_ms, default=None)

    def _seconds_per_token_when_full(self) -> float:
        entries = self.entries[:ENGINES_ASKED]
        steps = [entry.forecast.pace_seconds(entry.credits.request_cap) or 0.0 for entry in entries]
        return sum(steps) / len(steps) if steps else 0.0
