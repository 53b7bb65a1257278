"""The engines of each route, and those of them that are free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_control_plane.request.request import Route


class FreeEngines:
    """A set of engines that is also a sequence, which pickers can sample. O(1) to add and remove."""

    __slots__ = ("_index", "engines")

    def __init__(self) -> None:
        self.engines: list[EngineEntry] = []
        self._index: dict[str, int] = {}

    def add(self, entry: EngineEntry) -> None:
        """Add an engine if it is not in the set."""
        if entry.engine_id not in self._index:
            self._index[entry.engine_id] = len(self.engines)
            self.engines.append(entry)

    def discard(self, engine_id: str) -> None:
        """Remove an engine if it is in the set."""
        index = self._index.pop(engine_id, None)
        if index is None:
            return
        last = self.engines.pop()
        if last.engine_id != engine_id:
            self.engines[index] = last
            self._index[last.engine_id] = index


class RouteEngines:
    """The engines that serve one route, by id, and those of them that are free."""

    __slots__ = ("free", "serving")

    def __init__(self) -> None:
        self.serving: dict[str, EngineEntry] = {}
        self.free = FreeEngines()

    @property
    def recoverable(self) -> bool:
        """Whether some engine serves the route or may do so again."""
        for entry in self.serving.values():  # noqa: SIM110 - twice as fast, and asked for each request
            if entry.recoverable:
                return True
        return False

    @property
    def failures(self) -> tuple[str, ...]:
        """Why each engine of the route was given up; empty where there is none, or one that was not."""
        states = [entry.state for entry in self.serving.values()]
        return tuple(f"{s.spec.name}: {s.why}" for s in states) if all(s.given_up for s in states) else ()

    @property
    def not_ready(self) -> tuple[EngineState, ...]:
        """The engines of the route where none of them is ready; empty where one is."""
        states = tuple(entry.state for entry in self.serving.values())
        return () if any(state.phase is EnginePhase.READY for state in states) else states


class RouteIndex:
    """The engines by route, for every route that was looked up.

    Args:
        entries: every engine by id; maintained by the caller.
    """

    def __init__(self, entries: Mapping[str, EngineEntry]) -> None:
        self._entries = entries
        self._routes: dict[Route, RouteEngines] = {}
        self._served: dict[str, dict[Route, RouteEngines]] = {}

    def engines_of(self, route: Route) -> RouteEngines:
        """Return the engines of a route."""
        engines = self._routes.get(route)
        if engines is None:
            engines = self._routes[route] = RouteEngines()
            for entry in self._entries.values():
                self._join(entry, route, engines)
        return engines

    def served_by(self, entry: EngineEntry) -> Iterable[Route]:
        """Return the known routes that an engine serves."""
        return self._served.get(entry.engine_id, ())

    def join(self, entry: EngineEntry) -> None:
        """Add an engine that is new or serves other models than before."""
        self._served[entry.engine_id] = {}
        for route, engines in self._routes.items():
            self._join(entry, route, engines)

    def leave(self, entry: EngineEntry) -> None:
        """Remove an engine that is gone or will serve other models."""
        for engines in self._served.pop(entry.engine_id).values():
            del engines.serving[entry.engine_id]
            engines.free.discard(entry.engine_id)

    def refresh(self, entry: EngineEntry) -> None:
        """Apply a change of the engine's ``free``."""
        for engines in self._served[entry.engine_id].values():
            if entry.free:
                engines.free.add(entry)
            else:
                engines.free.discard(entry.engine_id)

    def _join(self, entry: EngineEntry, route: Route, engines: RouteEngines) -> None:
        if entry.serves(route):
            engines.serving[entry.engine_id] = entry
            self._served[entry.engine_id][route] = engines
            if entry.free:
                engines.free.add(entry)
