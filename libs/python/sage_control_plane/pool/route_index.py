"""The engines that serve one route, and those of them that are free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.request.request import Route


class FreeEngines:
    """A set of engines that is also a sequence, so that a picker can sample it. O(1) to add and remove."""

    __slots__ = ("_index", "engines")

    def __init__(self) -> None:
        self.engines: list[EngineEntry] = []
        self._index: dict[str, int] = {}

    def add(self, entry: EngineEntry) -> None:
        """Add an engine; adding it twice is adding it once."""
        if entry.engine_id not in self._index:
            self._index[entry.engine_id] = len(self.engines)
            self.engines.append(entry)

    def discard(self, engine_id: str) -> None:
        """Remove an engine if it is here."""
        index = self._index.pop(engine_id, None)
        if index is None:
            return
        last = self.engines.pop()
        if last.engine_id != engine_id:
            self.engines[index] = last
            self._index[last.engine_id] = index


class RouteEngines:
    """The engines that serve one route, those of them that are free, and how fast answers begin."""

    __slots__ = ("free", "serving")

    def __init__(self) -> None:
        self.serving: dict[str, EngineEntry] = {}
        self.free = FreeEngines()

    @property
    def recoverable(self) -> bool:
        """Whether some engine serves the route or may come to."""
        return any(entry.recoverable for entry in self.serving.values())


class RouteIndex:
    """The routes that have been asked for.

    Args:
        engines: all that there are, by id; kept by the caller.
    """

    def __init__(self, engines: Mapping[str, EngineEntry]) -> None:
        self._engines = engines
        self._books: dict[Route, RouteEngines] = {}
        self._of: dict[str, dict[Route, RouteEngines]] = {}

    def entry(self, route: Route) -> RouteEngines:
        """The engines of a route."""
        entry = self._books.get(route)
        if entry is None:
            entry = self._books[route] = RouteEngines()
            for engine in self._engines.values():
                self._join(engine, route, entry)
        return entry

    def of(self, engine: EngineEntry) -> Iterable[Route]:
        """The routes that an engine serves."""
        return self._of.get(engine.engine_id, ())

    def join(self, engine: EngineEntry) -> None:
        """An engine is new, or serves other models than before."""
        self._of[engine.engine_id] = {}
        for route, entry in self._books.items():
            self._join(engine, route, entry)

    def leave(self, engine: EngineEntry) -> None:
        """An engine is gone, or will serve other models."""
        for entry in self._of.pop(engine.engine_id).values():
            del entry.serving[engine.engine_id]
            entry.free.discard(engine.engine_id)

    def refresh(self, engine: EngineEntry) -> None:
        """An engine has become free, or is free no more."""
        for entry in self._of[engine.engine_id].values():
            if engine.free:
                entry.free.add(engine)
            else:
                entry.free.discard(engine.engine_id)

    def _join(self, engine: EngineEntry, route: Route, entry: RouteEngines) -> None:
        if engine.serves(route):
            entry.serving[engine.engine_id] = engine
            self._of[engine.engine_id][route] = entry
            if engine.free:
                entry.free.add(engine)
