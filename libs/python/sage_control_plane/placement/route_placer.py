"""Placement of a request on an engine of its route."""

from __future__ import annotations

from sage_control_plane.placement.pickers import SMALL_POOL
from sage_control_plane.placement.placer import Placement, Placer, ScoredEngine
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.pool.route_index import RouteEngines
from sage_control_plane.request.request import PendingRequest


class RoutePlacer:
    """Places a request on a free engine of its route that has not failed it."""

    def __init__(self, placer: Placer, prefixes: PrefixIndex) -> None:
        self._placer = placer
        self._prefixes = prefixes

    def place(
        self, request: PendingRequest, route: RouteEngines, avoided: frozenset[str], now: float
    ) -> Placement | None:
        """Choose a free engine, one of ``avoided`` only where no other is usable; None when the request has to wait."""
        free = route.free.engines
        if not free:
            return None
        if avoided:
            untried = [entry for entry in free if entry.engine_id not in avoided]
            if not untried and any(e.usable for e in route.serving.values() if e.engine_id not in avoided):
                # Wait for an engine that is usable but busy rather than return to one that failed.
                return None
            free = untried or free
        favourite = None
        if len(free) > SMALL_POOL:
            latest = route.serving.get(self._prefixes.latest(request) or "")
            if latest is not None and latest.free and latest.engine_id not in avoided:
                favourite = latest
        return self._with_caches(request, self._placer.place(request, free, now, favourite))

    def place_elsewhere(
        self, request: PendingRequest, route: RouteEngines, avoided: frozenset[str], now: float
    ) -> Placement | None:
        """Choose a free engine outside ``avoided``; None when there is none."""
        free = [entry for entry in route.free.engines if entry.engine_id not in avoided]
        return self._with_caches(request, self._placer.place(request, free, now)) if free else None

    def _with_caches(self, request: PendingRequest, placement: Placement | None) -> Placement | None:
        """Note what the candidates should have cached, for who asks why."""
        if placement is None or not request.classification.prefix_blocks:
            return placement
        matched = self._prefixes.matched
        found = tuple(ScoredEngine(one, score, matched(one, request)) for one, score, _ in placement.candidates)
        return Placement(placement.engine_id, found)
