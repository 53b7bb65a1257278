"""The engines of a pool, and for each route those that are free, without asking every engine at every decision."""

from __future__ import annotations

from collections.abc import Iterable

from sage_control_plane.breaker import Breaker, BreakerState
from sage_control_plane.credits import Credits
from sage_control_plane.engine_book import EngineBook
from sage_control_plane.engines import EngineState
from sage_control_plane.jobs import Job
from sage_control_plane.pace import Pace
from sage_control_plane.placement.placer import Placer
from sage_control_plane.placement.prefix_index import PrefixIndex
from sage_control_plane.prediction.forecast import Forecast, LatencyFits, prompt_weight
from sage_control_plane.prediction.latency import Load
from sage_control_plane.requests import PendingRequest, Route
from sage_control_plane.route_book import RouteBook
from sage_control_plane.settings import ControlSettings

# Assumed pace before anything has been measured: 1,000 tokens a second.
FIRST_PACE = 1e-3
NO_LOAD = Load()
# How long a prompt is taken to be queued whose computing is not seen, while nothing trustworthy is known.
UNPREDICTED_SECONDS = 1.0
# Shorter answers say little about the time between tokens.
LEAST_TPOT_TOKENS = 8
# In pools of more engines than this, what is typical is learned from a part of the samples.
ENGINES_SAMPLED = 8


class Roster:
    """The engines, their credits and their load."""

    def __init__(
        self,
        placer: Placer,
        settings: ControlSettings,
        prefixes: PrefixIndex,
    ) -> None:
        self._placer = placer
        self._prediction = settings.prediction
        self._prompt_seconds = settings.prompt_seconds
        self._queued_tokens = 0
        self._prompt_shares = 0.0
        self.usable = 0
        self._prefixes = prefixes
        self.fits = LatencyFits(settings.prediction)
        self._breaker = settings.breaker
        self._headroom = settings.headroom
        self._pace = Pace()
        self._routes: dict[Route, RouteBook] = {}
        self._routes_of: dict[str, dict[Route, RouteBook]] = {}
        self._outstanding = 0
        self._capacity = 0
        self.draining: set[str] = set()
        self.books: dict[str, EngineBook] = {}

    # The pool as a whole

    @property
    def saturation(self) -> float:
        """Share of the pool in use: of its seats or of its time for prompts, whichever is more; 1 without engines."""
        if not self._capacity:
            return 1.0
        seats = self._outstanding / self._capacity
        if not self._queued_tokens or not self.fits.ttft_generating.trusted:
            return seats
        return max(seats, min(1.0, self._prompt_shares / self.usable))

    @property
    def outstanding(self) -> int:
        """Attempts outstanding on all engines."""
        return self._outstanding

    def usual_ttft_seconds(self, request: PendingRequest) -> float | None:
        """Expected time to first token on an engine without load; None while nothing trustworthy is known."""
        classification = request.classification
        fit = self.fits.ttft(classification.generates)
        return fit.seconds(classification.input_tokens, NO_LOAD) if fit.trusted else None

    def uncached_tokens(self, book: EngineBook, request: PendingRequest) -> float:
        """Input tokens of the request that the engine has not cached, as far as is known."""
        return request.classification.input_tokens * (1.0 - self._prefixes.matched(book.engine_id, request))

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
                Forecast(self._prediction, self.fits),
                draining=spec.engine_id in self.draining,
            )
            self.books[spec.engine_id] = book
            self.fits.every = 1 + len(self.books) // ENGINES_SAMPLED
            self._join_routes(book)
        else:
            old, book.state = book.state, state
            if old.spec != spec:
                book.credits.resize(spec, self._headroom)
                self._leave_routes(book)
                self._join_routes(book)
        book.forecast.kv_usage = state.kv_cache_usage
        book.credits.correct(state.engine_waiting, state.kv_cache_usage)
        self.refresh(book)
        return book

    def remove(self, engine_id: str) -> EngineBook | None:
        """Strike an engine off; return its book with the jobs that were running."""
        book = self.books.pop(engine_id, None)
        if book is not None:
            self._leave_routes(book)
            self._outstanding -= book.credits.requests
            self._capacity -= book.capacity
            self.usable -= bool(book.capacity)
            self._queue(book, -sum(job.queued_tokens for job in book.running.values()))
            self._prefixes.remove(engine_id)
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
        self.usable += bool(capacity) - bool(book.capacity)
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

    def take(self, book: EngineBook, job: Job, now: float) -> None:
        """Charge a job to an engine."""
        forecast = book.forecast
        forecast.advance(now)
        job.share_mark = forecast.share_seconds
        book.running[job.request_id] = job
        book.credits.take(job.tokens)
        forecast.running += 1
        if job.request is not None and not job.begun:
            classification = job.request.classification
            job.found = forecast.load
            job.uncached_tokens = self.uncached_tokens(book, job.request)
            expected = forecast.ttft_seconds(classification.generates, job.uncached_tokens)
            if classification.shows_beginning:
                job.predicted_ttft = expected
            else:
                book.unseen[job.request_id] = job
                job.computed_by = now + (UNPREDICTED_SECONDS if expected is None else expected)
            # Rounded, so that sums of them come back to exactly nothing.
            job.queued_tokens = round(job.uncached_tokens * prompt_weight(self.fits, classification.generates)) or 1
            self._queue(book, job.queued_tokens)
            self._prefixes.add(book.engine_id, job.request)
        self._outstanding += 1

    def give(self, book: EngineBook, job: Job) -> None:
        """Take a job off an engine; ``refresh`` it afterwards."""
        del book.running[job.request_id]
        book.credits.give(job.tokens)
        book.forecast.running -= 1
        self._not_queued(book, job)
        self._outstanding -= 1

    def _not_queued(self, book: EngineBook, job: Job) -> None:
        self._queue(book, -job.queued_tokens)
        job.queued_tokens = 0
        book.unseen.pop(job.request_id, None)

    def _queue(self, book: EngineBook, tokens: int) -> None:
        """So many more tokens of prompts, or fewer, are queued on an engine.

        An engine is at most full, however long its queue: a few long prompts must not make the others seem busy too.
        """
        book.forecast.queued_tokens += tokens
        self._queued_tokens += tokens
        prompts = book.forecast.queued_tokens * self.fits.ttft_generating.seconds_per_input_token
        share = min(1.0, prompts / self._prompt_seconds)
        self._prompt_shares += share - book.prompt_share
        book.prompt_share = share

    def presume_computed(self, book: EngineBook, job: Job) -> None:
        """The prompt of a job whose answer comes in one piece should have been computed by now."""
        self._not_queued(book, job)

    # What is learned

    def learn_begin(self, book: EngineBook, job: Job, now: float, ttft_seconds: float) -> None:
        """A job's first token has come so long after its dispatch."""
        forecast = book.forecast
        forecast.advance(now)
        job.begun = True
        job.begun_at = now
        job.running_mark = forecast.running_seconds
        self._not_queued(book, job)
        if job.request is None or job.adopted:
            return
        classification = job.request.classification
        if not classification.shows_beginning:
            return
        forecast.learn_ttft(classification.generates, job.uncached_tokens, job.found, ttft_seconds)
        if classification.generates:
            # Engines compute prompts in the order in which they came.
            for earlier in [other for other in book.unseen.values() if other.attempt.dispatch < job.attempt.dispatch]:
                self._not_queued(book, earlier)

    def learn_overdue(self, book: EngineBook, job: Job, now: float) -> None:
        """A job is given up on, and has had no first token so long after its dispatch."""
        waited = now - job.dispatched_at
        unseen = job.request is None or not job.request.classification.shows_beginning
        if job.request is not None and not unseen and waited > (job.predicted_ttft or 0.0):
            book.forecast.learn_ttft(job.request.classification.generates, job.uncached_tokens, job.found, waited)

    def learn_finish(self, book: EngineBook, job: Job, now: float, output_tokens: int) -> None:
        """A job is about to be taken off its engine because it is complete."""
        book.forecast.advance(now)
        seconds = now - job.dispatched_at
        self._pace.record(job.tokens, seconds)
        book.pace.record(job.tokens, seconds)
        book.seconds_per_token = book.pace.seconds_per_token(self._pace.seconds_per_token(FIRST_PACE))
        streamed = now - job.begun_at
        if job.request is not None and not job.request.classification.shows_beginning:
            return
        if output_tokens >= LEAST_TPOT_TOKENS and streamed > 0 and not job.adopted:
            mean_running = (book.forecast.running_seconds - job.running_mark) / streamed
            book.forecast.learn_tpot(mean_running, streamed / (output_tokens - 1))

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
