"""Which engine of a route a request goes to."""

from __future__ import annotations

from sage_control_plane.placement.pickers import SMALL_POOL
from sage_control_plane.placement.placer import Placement, Placer
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.pool.route_index import RouteEngines
from sage_control_plane.request.request import PendingRequest


class RoutePlacer:
    """Offers a placer those engines of a route that are free and have not failed the request."""

    def __init__(self, placer: Placer, prefixes: PrefixIndex) -> None:
        self._placer = placer
        self._prefixes = prefixes

    def place(
        self, request: PendingRequest, route: RouteEngines, avoided: frozenset[str], now: float
    ) -> Placement | None:
        """Choose a free engine; one of ``avoided`` only where no other is alive. None when the request has to wait."""
        free = route.free.engines
        if not free:
            return None
        if avoided:
            untried = [entry for entry in free if entry.engine_id not in avoided]
            if not untried and any(e.usable for e in route.serving.values() if e.engine_id not in avoided):
                # Another engine is alive, if busy: wait for it rather than go back to one that failed.
                return None
            free = untried or free
        favourite = None
        if len(free) > SMALL_POOL and request.classification.prefix_blocks:
            latest = route.serving.get(self._prefixes.latest(request) or "")
            if latest is not None and latest.free and latest.engine_id not in avoided:
                favourite = latest
        return self._placer.place(request, free, now, favourite)

    def place_elsewhere(
        self, request: PendingRequest, route: RouteEngines, avoided: frozenset[str], now: float
    ) -> Placement | None:
        """Choose a free engine that is none of ``avoided``; None when there is none."""
        free = [entry for entry in route.free.engines if entry.engine_id not in avoided]
        return self._placer.place(request, free, now) if free else None
