"""Seats kept for more urgent work: how many it needs is computed from its measured demand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import exp

from sage_control_plane.policies.bands import Band, band_of, level_of
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt, may_go_on
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.seat_group import Absorbs, SeatGroup
from sage_control_plane.prediction.demand import Demand
from sage_control_plane.request.request import PendingRequest, Route


class Reservation:
    """The seat groups of a pool, and whether work of a band may take a seat now.

    Args:
        entries: every engine by id; maintained by the caller.
        prices: by band, how many more urgent requests one of its requests may make late.

    Attributes:
        absorbs: returns how many urgent requests a second bulk answers can give up their seats for, over the time for
            which one of them holds its seat.
    """

    def __init__(self, entries: Mapping[str, EngineEntry], prices: Sequence[float]) -> None:
        self._entries = entries
        self._prices = prices
        self.absorbs: Absorbs = lambda now, hold_seconds: 0.0
        self._demands: dict[Route, list[Demand]] = {}
        self._groups: dict[str, SeatGroup] = {}
        self._of_model: dict[str, SeatGroup] = {}
        self._of_route: dict[Route, SeatGroup | None] = {}
        self._stale = True

    # Engines

    def join(self, entry: EngineEntry) -> None:
        """Take a new engine into its group. A leader meets a thousand at once, and grouping all for each takes long."""
        if self._stale:
            return
        names = _names(entry)
        groups = list({id(group): group for name in names if (group := self._of_model.get(name)) is not None}.values())
        if len(groups) > 1:
            self._stale = True  # they are one from now on
            return
        group = groups[0] if groups else SeatGroup([])
        group.join(entry)
        self._groups[entry.engine_id] = group
        for name in names:
            self._of_model[name] = group
        for route in [route for route, known in self._of_route.items() if known is None and entry.serves(route)]:
            del self._of_route[route]
            self._route_group(route)

    def regroup(self) -> None:
        """Find the groups again: an engine has gone, or serves other models."""
        self._stale = True

    def resize(self, entry: EngineEntry, seats: int) -> None:
        """Change an engine's part in the capacity by ``seats``."""
        if not self._stale:
            self._groups[entry.engine_id].capacity += seats

    def take(self, entry: EngineEntry, attempt: DispatchedAttempt, hold_seconds: float | None, now: float) -> None:
        """Count an attempt's seat, which it holds for about ``hold_seconds``; None where that is not known."""
        if attempt.request is None:
            return
        band = band_of(attempt.request)
        target = attempt.request.classification.begin_target_seconds
        attempt.level = level_of(band, late=target is not None and now - attempt.request.arrived_at > target)
        group = self.group(entry)
        patience = group.patience_seconds
        attempt.seat = 1.0 if hold_seconds is None or not patience else exp(-patience / max(hold_seconds, 1e-3))
        attempt.keeps_seat = not may_go_on(attempt.request, now + (hold_seconds or 0.0))
        group.add(attempt)
        attempt.stream = self._stream(attempt.request.classification.route, band)
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
        level = level_of(band, late=late)
        reserved = group.reserved(level, now, self._prices, self.absorbs)
        if band == Band.BULK and group.steady is not None and sum(group.holders) >= group.steady:
            return False
        # What bulk work holds because it gives it back is as good as free for others.
        lent = 0.0 if band == Band.BULK else group.lent_and_held
        return not reserved or sum(group.held[level:]) - lent + 1.0 <= group.capacity - reserved + 1e-6

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
        if group is None:
            return False
        return group.holders[level_of(band, late=False)] > 0 or group.holders[level_of(band, late=True)] > 0

    def tightest(self, entry: EngineEntry, now: float) -> Demand | None:
        """Return the stream with the smallest target for the time between tokens of those of late; None without any."""
        return self.group(entry).tightest(now)

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
        self._of_model = {}
        self._of_route = {}
        for entries in _components(self._entries.values()):
            group = SeatGroup(entries)
            for entry in entries:
                self._groups[entry.engine_id] = group
                for name in _names(entry):
                    self._of_model[name] = group
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
        names = _names(entry)
        first = root(names[0])
        for name in names[1:]:
            parents[root(name)] = first
        firsts.append((entry, first))
    groups: dict[str, list[EngineEntry]] = {}
    for entry, first in firsts:
        groups.setdefault(root(first), []).append(entry)
    return list(groups.values())


def _names(entry: EngineEntry) -> list[str]:
    """Return what engines that share work with this one have in common with it. One without models shares none."""
    return [name for card in entry.state.spec.models for name in card.names] or [f"\0{entry.engine_id}"]
