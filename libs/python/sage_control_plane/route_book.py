"""The engines that serve one route, and those of them that are free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sage_control_plane.engine_book import EngineBook
from sage_control_plane.requests import Route


class FreeEngines:
    """A set of engines that is also a sequence, so that a picker can sample it. O(1) to add and remove."""

    __slots__ = ("_index", "engines")

    def __init__(self) -> None:
        self.engines: list[EngineBook] = []
        self._index: dict[str, int] = {}

    def add(self, book: EngineBook) -> None:
        """Add an engine; adding it twice is adding it once."""
        if book.engine_id not in self._index:
            self._index[book.engine_id] = len(self.engines)
            self.engines.append(book)

    def discard(self, engine_id: str) -> None:
        """Remove an engine if it is here."""
        index = self._index.pop(engine_id, None)
        if index is None:
            return
        last = self.engines.pop()
        if last.engine_id != engine_id:
            self.engines[index] = last
            self._index[last.engine_id] = index


class RouteBook:
    """The engines that serve one route, those of them that are free, and how fast answers begin."""

    __slots__ = ("free", "serving")

    def __init__(self) -> None:
        self.serving: dict[str, EngineBook] = {}
        self.free = FreeEngines()

    @property
    def hopeful(self) -> bool:
        """Whether some engine serves the route or may come to."""
        return any(book.hopeful for book in self.serving.values())


class RouteBooks:
    """The routes that have been asked for.

    Args:
        engines: all that there are, by id; kept by the caller.
    """

    def __init__(self, engines: Mapping[str, EngineBook]) -> None:
        self._engines = engines
        self._books: dict[Route, RouteBook] = {}
        self._of: dict[str, dict[Route, RouteBook]] = {}

    def book(self, route: Route) -> RouteBook:
        """The engines of a route."""
        book = self._books.get(route)
        if book is None:
            book = self._books[route] = RouteBook()
            for engine in self._engines.values():
                self._join(engine, route, book)
        return book

    def of(self, engine: EngineBook) -> Iterable[Route]:
        """The routes that an engine serves."""
        return self._of.get(engine.engine_id, ())

    def join(self, engine: EngineBook) -> None:
        """An engine is new, or serves other models than before."""
        self._of[engine.engine_id] = {}
        for route, book in self._books.items():
            self._join(engine, route, book)

    def leave(self, engine: EngineBook) -> None:
        """An engine is gone, or will serve other models."""
        for book in self._of.pop(engine.engine_id).values():
            del book.serving[engine.engine_id]
            book.free.discard(engine.engine_id)

    def refresh(self, engine: EngineBook) -> None:
        """An engine has become free, or is free no more."""
        for book in self._of[engine.engine_id].values():
            if engine.free:
                book.free.add(engine)
            else:
                book.free.discard(engine.engine_id)

    def _join(self, engine: EngineBook, route: Route, book: RouteBook) -> None:
        if engine.serves(route):
            book.serving[engine.engine_id] = engine
            self._of[engine.engine_id][route] = book
            if engine.free:
                book.free.add(engine)
