"""How many prompt tokens each engine was given to compute of late, beside the other engines of the same route."""

from __future__ import annotations

from math import exp

from sage_control_plane.request.request import Route

# Time constant of the decay. Conversations go on after some seconds of reading and typing.
RECENT_SECONDS = 20.0
# An engine that was given more than this multiple of the mean draws no more requests with a beginning that many share.
MOST_OF_MEAN = 1.25


class _Decayed:
    """A sum whose parts count the less the older they are."""

    __slots__ = ("at", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.at = 0.0

    def at_time(self, now: float) -> float:
        return self.value * exp(-max(0.0, now - self.at) / RECENT_SECONDS)

    def add(self, amount: float, now: float) -> None:
        self.value = self.at_time(now) + amount
        self.at = max(now, self.at)


class _OfRoute:
    __slots__ = ("by_engine", "engines", "total")

    def __init__(self) -> None:
        self.engines = 1
        self.total = _Decayed()
        self.by_engine: dict[str, _Decayed] = {}


class RecentPrompts:
    """Uncached prompt tokens by route and engine, decayed over ``RECENT_SECONDS``. O(1) each.

    What draws many requests to one engine is bounded by it: consistent hashing with bounded loads (Mirrokni, Thorup and
    Zadimoghaddam, 2016).
    """

    def __init__(self) -> None:
        self._routes: dict[Route, _OfRoute] = {}

    def add(self, route: Route, engine_id: str, tokens: float, engines: int, now: float) -> None:
        """Note what an engine is given to compute.

        Args:
            engines: that serve the route.
        """
        known = self._routes.setdefault(route, _OfRoute())
        known.engines = max(1, engines)
        known.total.add(tokens, now)
        known.by_engine.setdefault(engine_id, _Decayed()).add(tokens, now)

    def is_ahead(self, route: Route, engine_id: str, saved_tokens: float, now: float) -> bool:
        """Return whether the engine was given more than ``MOST_OF_MEAN`` times what engines of the route were.

        An excess that is smaller than ``saved_tokens``, which another engine would have to compute, does not count.
        """
        known = self._routes.get(route)
        mine = known.by_engine.get(engine_id) if known is not None else None
        if known is None or mine is None:
            return False
        given, mean = mine.at_time(now), known.total.at_time(now) / known.engines
        return given > MOST_OF_MEAN * mean and given - mean > saved_tokens

    def remove(self, engine_id: str) -> None:
        """Forget an engine that is gone."""
        for route, known in list(self._routes.items()):
            gone = known.by_engine.pop(engine_id, None)
            if gone is None:
                continue
            if not known.by_engine:
                del self._routes[route]
                continue
            known.total.value = max(0.0, known.total.value - gone.at_time(known.total.at))
            known.engines = max(1, known.engines - 1)
