"""The engines that serve one route, and those of them that are free."""

from __future__ import annotations

from sage_control_plane.engine_book import EngineBook


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
