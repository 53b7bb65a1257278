"""The engines of a pool, and for each route those that are free, without asking every engine at every decision."""

from __future__ import annotations

from collections.abc import Iterable

from sage_control_plane.breaker import Breaker, BreakerSettings, BreakerState
from sage_control_plane.credits import Credits
from sage_control_plane.engine_book import EngineBook
from sage_control_plane.engines import EngineState
from sage_control_plane.jobs import Job
from sage_control_plane.pace import Pace
from sage_control_plane.placement.placer import Placer
from sage_control_plane.requests import PendingRequest, Route

# Assumed pace before anything has been measured: 1,000 tokens a second.
FIRST_PACE = 1e-3


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

    __slots__ = ("free", "serving", "ttft_seconds")

    def __init__(self) -> None:
        self.serving: dict[str, EngineBook] = {}
        self.free = FreeEngines()
        self.ttft_seconds: float | None = None

    @property
    def hopeful(self) -> bool:
        """Whether some engine serves the route or may come to."""
        return any(book.hopeful for book in self.serving.values())


class Roster:
    """The engines and their credits. It is also what policies see of the pool (``PoolView``)."""

    def __init__(self, placer: Placer, breaker: BreakerSettings, headroom: float) -> None:
        self._placer = placer
        self._breaker = breaker
        self._headroom = headroom
        self._pace = Pace()
        self._routes: dict[Route, RouteBook] = {}
        self._routes_of: dict[str, dict[Route, RouteBook]] = {}
        self._outstanding = 0
        self._capacity = 0
        self.draining: set[str] = set()
        self.books: dict[str, EngineBook] = {}

    # What policies see

    @property
    def saturation(self) -> float:
        return self._outstanding / self._capacity if self._capacity else 1.0

    @property
    def outstanding(self) -> int:
        """Requests outstanding on all engines."""
        return self._outstanding

    def predicted_ttft_seconds(self, request: PendingRequest) -> float | None:
        classification = request.classification
        return self.route(Route(classification.model, classification.kind)).ttft_seconds

    # Engines

    def update(self, state: EngineState) -> EngineBook:
        """Take an engine's reported state in."""
        spec = state.spec
        book = self.books.get(spec.engine_id)
        if book is None:
            book = EngineBook(
                spec.engine_id,
                state,
                Credits(spec, self._headroom),
                Breaker(self._breaker),
                Pace(),
                self._pace.seconds_per_token(FIRST_PACE),
                draining=spec.engine_id in self.draining,
            )
            self.books[spec.engine_id] = book
            self._join_routes(book)
        else:
            old, book.state = book.state, state
            if old.spec != spec:
                book.credits.resize(spec, self._headroom)
                self._leave_routes(book)
                self._join_routes(book)
        self.refresh(book)
        return book

    def remove(self, engine_id: str) -> EngineBook | None:
        """Strike an engine off; return its book with the jobs that were running."""
        book = self.books.pop(engine_id, None)
        if book is not None:
            self._leave_routes(book)
            self._outstanding -= book.credits.requests
            self._capacity -= book.capacity
            self._placer.removed(engine_id)
        return book

    def set_draining(self, engine_id: str, draining: bool) -> EngineBook | None:
        """Mark an engine, known or yet to come; return its book if it is known."""
        if draining:
            self.draining.add(engine_id)
        else:
            self.draining.discard(engine_id)
        book = self.books.get(engine_id)
        if book is not None:
            book.draining = draining
            self.refresh(book)
        return book

    def refresh(self, book: EngineBook) -> None:
        """Ask the engine filters again, because something about the engine has changed."""
        capacity = book.credits.request_cap if book.usable else 0
        self._capacity += capacity - book.capacity
        book.capacity = capacity
        free = self._placer.admits(book)
        if free != book.free:
            book.free = free
            for route in self._routes_of[book.engine_id].values():
                if free:
                    route.free.add(book)
                else:
                    route.free.discard(book.engine_id)

    def may_eject(self, book: EngineBook) -> bool:
        """Whether the breaker of ``book`` may open without leaving too few engines for any of its models."""
        for name in {name for card in book.state.spec.models for name in card.names}:
            peers = [peer for peer in self.books.values() if peer.state.spec.card(name) is not None]
            others = sum(peer.breaker.state is not BreakerState.CLOSED for peer in peers if peer is not book)
            if others + 1 > len(peers) * self._breaker.max_ejection_percent / 100:
                return False
        return True

    # Credits

    def take(self, book: EngineBook, job: Job) -> None:
        """Charge a job to an engine."""
        book.running[job.request_id] = job
        book.credits.take(job.tokens)
        self._outstanding += 1

    def give(self, book: EngineBook, job: Job) -> None:
        """Take a job off an engine; ``refresh`` it afterwards."""
        del book.running[job.request_id]
        book.credits.give(job.tokens)
        self._outstanding -= 1

    def learn_pace(self, book: EngineBook, job: Job, now: float) -> None:
        """A job has finished."""
        seconds = now - job.dispatched_at
        self._pace.record(job.tokens, seconds)
        book.pace.record(job.tokens, seconds)
        book.seconds_per_token = book.pace.seconds_per_token(self._pace.seconds_per_token(FIRST_PACE))

    def learn_ttft(self, route: Route, seconds: float) -> None:
        """An answer has begun so long after its dispatch."""
        book = self.route(route)
        book.ttft_seconds = seconds if book.ttft_seconds is None else 0.9 * book.ttft_seconds + 0.1 * seconds

    # Routes

    def route(self, route: Route) -> RouteBook:
        """The engines of a route."""
        book = self._routes.get(route)
        if book is None:
            book = self._routes[route] = RouteBook()
            for engine in self.books.values():
                self._join(engine, route, book)
        return book

    def routes_of(self, book: EngineBook) -> Iterable[Route]:
        """The routes asked for so far that an engine serves."""
        return self._routes_of.get(book.engine_id, ())

    def _join(self, engine: EngineBook, route: Route, book: RouteBook) -> None:
        if engine.serves(route):
            book.serving[engine.engine_id] = engine
            self._routes_of[engine.engine_id][route] = book
            if engine.free:
                book.free.add(engine)

    def _join_routes(self, book: EngineBook) -> None:
        self._routes_of[book.engine_id] = {}
        for route, served in self._routes.items():
            self._join(book, route, served)

    def _leave_routes(self, book: EngineBook) -> None:
        for served in self._routes_of.pop(book.engine_id).values():
            del served.serving[book.engine_id]
            served.free.discard(book.engine_id)
