"""Seats kept for more urgent work: how many it needs is computed from its measured demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Annotated

from annotated_types import Gt

from sage_control_plane.policies.bands import Band, band_of
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.offered_load import OfferedLoad
from sage_control_plane.prediction.demand import LEAST_LOAD, Demand
from sage_control_plane.prediction.erlang import seats_worth_keeping
from sage_control_plane.request.request import PendingRequest, Route

# How long a computed reservation holds.
FRESH_SECONDS = 0.25
# For how long after the last request with a target between tokens batches are kept small enough for another.
TPOT_SECONDS = 120.0
# Seats of each engine that bulk work may hold before the pace of its engines is known.
FEW_PER_ENGINE = 1
# Engines of a group that are asked for their pace: enough for a mean.
ENGINES_ASKED = 16

# Each band has two levels: its requests that can meet their target, and those that are late.
_LEVELS = 2 * len(Band)


@dataclass(frozen=True, slots=True)
class ReservationSettings:
    """How far less urgent work may be in the way of more urgent work.

    Attributes:
        late_per_request: more urgent requests that one request may make late, where it has a near target itself.
        late_per_bulk_request: the same for bulk work.
    """

    late_per_request: Annotated[float, Gt(0)] = 0.5
    late_per_bulk_request: Annotated[float, Gt(0)] = 0.5

    @property
    def prices(self) -> tuple[float, ...]:
        """By level: each band's requests that can meet their target, and those that are late."""
        prices = [self.late_per_bulk_request if band is Band.BULK else self.late_per_request for band in Band]
        return tuple(price for price in prices for _ in range(2))


class SeatGroup:
    """Engines that share work, directly or through others, and the seats on them.

    Attributes:
        entries: the engines.
        capacity: seats of those that are usable.
        held: seats held, by level; one that is given back within the patience of more urgent work counts in part.
        holders: attempts that hold one, by level.
        demands: the streams of requests to it, by band.
    """

    __slots__ = ("_computed_at", "_reserved", "capacity", "demands", "entries", "held", "holders", "patience_seconds")

    def __init__(self, entries: Sequence[EngineEntry]) -> None:
        self.entries = entries
        self.capacity = 0
        self.held = [0.0] * _LEVELS
        self.holders = [0] * _LEVELS
        self.demands: list[list[Demand]] = [[] for _ in Band]
        self.patience_seconds = 0.0
        self._reserved = [0] * _LEVELS
        self._computed_at = float("-inf")

    def add(self, attempt: DispatchedAttempt) -> None:
        """Count an attempt's seat."""
        level = 2 * attempt.band + attempt.late
        self.holders[level] += 1
        self.held[level] += attempt.seat or 0.0

    def remove(self, attempt: DispatchedAttempt) -> None:
        """Undo ``add``."""
        level = 2 * attempt.band + attempt.late
        self.holders[level] -= 1
        # Parts of seats do not add up exactly, so what is left of them ends with the last holder.
        self.held[level] = max(0.0, self.held[level] - (attempt.seat or 0.0)) if self.holders[level] else 0.0

    def reserved(self, level: int, now: float, prices: Sequence[float], absorbs: Callable[[float], float]) -> int:
        """Return the seats that are left to the levels before ``level``."""
        if not 0.0 <= now - self._computed_at < FRESH_SECONDS:
            self._compute(now, prices, absorbs(now))
            self._computed_at = now
        return self._reserved[level]

    def _compute(self, now: float, prices: Sequence[float], absorbed: float) -> None:
        # Answers take longest when all seats are taken, and then the reservation counts.
        seconds_per_token = self._seconds_per_token_when_full()
        usable = [entry for entry in self.entries if entry.capacity]
        learning = not all(entry.pace_known for entry in usable) and self.tightest_tpot_ms(now) is not None
        self.patience_seconds = 0.0
        before = OfferedLoad()
        held = 0.0
        for band, streams in enumerate(self.demands):
            own, present = OfferedLoad(), OfferedLoad()
            for stream in streams:
                hold = stream.hold_seconds(now, seconds_per_token)
                own.add(stream, stream.per_second(now), hold)
                present.add(stream, stream.present_per_second(now), hold)
            # Fresh requests leave room for the bands before theirs, late ones for the fresh of their own too.
            for level, offered in ((2 * band, before), (2 * band + 1, before + present)):
                self._reserved[level] = 0
                if offered.load > LEAST_LOAD:
                    # Of a band that is new, nothing is known yet: it is taken to hold seats as long as the others do.
                    hold = own.load / own.rate if own.load else offered.hold_seconds
                    self._reserved[level] = seats_worth_keeping(
                        offered.during(hold, held),
                        offered.hold_seconds,
                        offered.patience_seconds,
                        self.capacity,
                        offered.peakedness,
                        prices[level] / hold,
                        absorbed if band == Band.BULK else 0.0,
                    )
                held += self.held[level]
            before += own
            if learning and band == Band.BULK:
                # Until it is known how the pace falls with the batch, bulk work shows it, and no more.
                few = self.capacity - FEW_PER_ENGINE * len(usable)
                self._reserved[2 * band] = max(self._reserved[2 * band], few)
            if before.load > LEAST_LOAD and not self.patience_seconds:
                self.patience_seconds = before.patience_seconds

    def tightest_tpot_ms(self, now: float) -> int | None:
        """Return the smallest target for the time between tokens of what was asked for lately; None without any."""
        targets = (
            stream.tpot_ms
            for streams in self.demands
            for stream in streams
            if stream.tpot_ms and now - stream.tpot_at < TPOT_SECONDS
        )
        return min(targets, default=None)

    def _seconds_per_token_when_full(self) -> float:
        entries = self.entries[:ENGINES_ASKED]
        steps = [entry.forecast.pace_seconds(entry.credits.request_cap) or 0.0 for entry in entries]
        return sum(steps) / len(steps) if steps else 0.0


class Reservation:
    """The seat groups of a pool, and whether work of a band may take a seat now.

    Args:
        entries: every engine by id; maintained by the caller.
        prices: by level, how many more urgent requests one of its requests may make late.

    Attributes:
        absorbs: returns how many urgent requests a second bulk answers can give up their seats for.
    """

    def __init__(self, entries: Mapping[str, EngineEntry], prices: Sequence[float]) -> None:
        self._entries = entries
        self._prices = prices
        self.absorbs: Callable[[float], float] = lambda now: 0.0
        self._demands: dict[Route, list[Demand]] = {}
        self._groups: dict[str, SeatGroup] = {}
        self._of_route: dict[Route, SeatGroup | None] = {}
        self._stale = True

    # Engines

    def regroup(self) -> None:
        """Find the groups again: an engine has come, gone, or serves other models."""
        self._stale = True

    def resize(self, entry: EngineEntry, seats: int) -> None:
        """Change an engine's part in the capacity by ``seats``."""
        if not self._stale:
            self._groups[entry.engine_id].capacity += seats

    def take(self, entry: EngineEntry, attempt: DispatchedAttempt, hold_seconds: float | None, now: float) -> None:
        """Count an attempt's seat, which it holds for about ``hold_seconds``; None where that is not known."""
        if attempt.request is None:
            return
        attempt.band = band_of(attempt.request)
        target = attempt.request.classification.begin_target_seconds
        attempt.late = target is not None and now - attempt.request.arrived_at > target
        group = self.group(entry)
        patience = group.patience_seconds
        attempt.seat = 1.0 if hold_seconds is None or not patience else exp(-patience / max(hold_seconds, 1e-3))
        group.add(attempt)
        attempt.stream = self._stream(attempt.request.classification.route, attempt.band)
        attempt.stream.took(now)

    def give(self, entry: EngineEntry, attempt: DispatchedAttempt, now: float) -> None:
        """Undo ``take``; without effect for an attempt that took no seat."""
        if attempt.stream is None or attempt.seat is None:
            return
        if not self._stale:
            self._groups[entry.engine_id].remove(attempt)
        attempt.seat = None
        attempt.stream.gave(now)

    # Requests

    def arrived(self, request: PendingRequest, band: Band, patience_seconds: float, now: float) -> None:
        """Count an arrival that can wait for ``patience_seconds``."""
        classification = request.classification
        # The caller of an answer in one piece sees no time between tokens, and no engine shows one by it.
        tpot_ms = classification.slo.tpot_ms if classification.streaming else None
        self._stream(classification.route, band).arrived(now, patience_seconds, tpot_ms)

    def answered(self, attempt: DispatchedAttempt, output_tokens: int) -> None:
        """Learn from a complete answer."""
        if attempt.stream is not None:
            attempt.stream.answered(output_tokens)

    def has_room(self, route: Route, band: Band, now: float, *, late: bool) -> bool:
        """Return whether a request may take a seat and leave enough to more urgent work."""
        group = self._route_group(route)
        if group is None:
            return True
        level = 2 * band + late
        reserved = group.reserved(level, now, self._prices, self.absorbs)
        return not reserved or sum(group.held[level:]) + 1.0 <= group.capacity - reserved + 1e-6

    def seats(self, route: Route) -> int:
        """Return the seats of the engines among which the route's are."""
        group = self._route_group(route)
        return 0 if group is None else group.capacity

    def turnover(self, request: PendingRequest, now: float) -> float:
        """Return how many requests like it would begin in a second if they had all seats; 0 where that is not known."""
        route = request.classification.route
        stream = self._stream(route, band_of(request))
        hold = stream.hold_seconds(now, 0.0)
        return self.seats(route) / hold if stream.is_known and hold > 0.0 else 0.0

    def holds_seat(self, route: Route, band: Band) -> bool:
        """Return whether the band holds a seat where the route's requests may get one."""
        group = self._route_group(route)
        return group is not None and group.holders[2 * band] + group.holders[2 * band + 1] > 0

    def tightest_tpot_ms(self, entry: EngineEntry, now: float) -> int | None:
        """Return the smallest target for the time between tokens of what was asked for lately; None without any."""
        return self.group(entry).tightest_tpot_ms(now)

    # Groups

    def group(self, entry: EngineEntry) -> SeatGroup:
        """Return the group of an engine."""
        if self._stale:
            self._regroup()
        return self._groups[entry.engine_id]

    def _stream(self, route: Route, band: Band) -> Demand:
        demands = self._demands.get(route)
        if demands is None:
            demands = self._demands[route] = [Demand() for _ in Band]
            self._of_route.pop(route, None)
        return demands[band]

    def _route_group(self, route: Route) -> SeatGroup | None:
        if self._stale:
            self._regroup()
        try:
            return self._of_route[route]
        except KeyError:
            serving = next((entry for entry in self._entries.values() if entry.serves(route)), None)
            group = self._of_route[route] = None if serving is None else self._groups[serving.engine_id]
            if group is not None and route in self._demands:
                for streams, stream in zip(group.demands, self._demands[route], strict=True):
                    streams.append(stream)
            return group

    def _regroup(self) -> None:
        self._groups = {}
        self._of_route = {}
        for entries in _components(self._entries.values()):
            group = SeatGroup(entries)
            for entry in entries:
                self._groups[entry.engine_id] = group
                group.capacity += entry.capacity
                for attempt in entry.running.values():
                    if attempt.seat is not None:
                        group.add(attempt)
        self._stale = False
        for route in self._demands:
            self._route_group(route)


def _components(entries: Iterable[EngineEntry]) -> list[list[EngineEntry]]:
    """Return the engines in groups; no two groups serve the same model."""
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while (parent := parents.setdefault(name, name)) != name:
            parents[name] = name = parents.setdefault(parent, parent)
        return name

    firsts: list[tuple[EngineEntry, str]] = []
    for entry in entries:
        # An engine without models shares work with none.
        names = [name for card in entry.state.spec.models for name in card.names] or [f"\0{entry.engine_id}"]
        first = root(names[0])
        for name in names[1:]:
            parents[root(name)] = first
        firsts.append((entry, first))
    groups: dict[str, list[EngineEntry]] = {}
    for entry, first in firsts:
        groups.setdefault(root(first), []).append(entry)
    return list(groups.values())
