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
from sage_control_plane.prediction.prices import Prices
from sage_control_plane.requests import Classification, PendingRequest, Route
from sage_control_plane.route_book import RouteBook, RouteBooks
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
        self.prices = Prices()
        self._breaker = settings.breaker
        self._headroom = settings.headroom
        self._pace = Pace()
        self._outstanding = 0
        self._capacity = 0
        self.draining: set[str] = set()
        self.books: dict[str, EngineBook] = {}
        self._routes = RouteBooks(self.books)

    # The pool as a whole

    @property
    def saturation(self) -> float:
        """Share of the pool in use: of its seats or of its time for prompts, whichever is more; 1 without engines."""
        if not self._capacity:
            return 1.0
        seats = self._outstanding / self._capacity
        if not self._queued_tokens:
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
            self._routes.join(book)
        else:
            old, book.state = book.state, state
            if old.spec != spec:
                book.credits.resize(spec, self._headroom)
                self._routes.leave(book)
                self._routes.join(book)
        load = state.load
        book.forecast.hear(load)
        if load is None:
            book.credits.uncorrect()
        else:
            book.credits.correct(load.waiting, load.kv_cache_usage)
        self.refresh(book)
        return book

    def remove(self, engine_id: str) -> EngineBook | None:
        """Strike an engine off; return its book with the jobs that were running."""
        book = self.books.pop(engine_id, None)
        if book is not None:
            self._routes.leave(book)
            self._outstanding -= book.credits.requests
            self._capacity -= book.capacity
            self.usable -= bool(book.capacity)
            self._queue(book, -sum(job.queued_tokens for job in book.running.values()))
            self.fits.every = 1 + len(self.books) // ENGINES_SAMPLED
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
        self._share_prompts(book)
        free = self._placer.admits(book)
        if free != book.free:
            book.free = free
            self._routes.refresh(book)

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
        book.running[job.request_id] = job
        book.credits.take(job.tokens)
        forecast.running += 1
        if job.request is not None and not job.begun:
            classification = job.request.classification
            if classification.slo.tpot_ms:
                job.paced_ms = classification.slo.tpot_ms
                book.pace_to(job.paced_ms)
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
        forecast = book.forecast
        forecast.running -= 1
        if job.decoding:
            job.decoding = False
            forecast.decoding -= 1
        if job.paced_ms:
            book.unpace(job.paced_ms)
            job.paced_ms = 0
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
        self._share_prompts(book)

    def _share_prompts(self, book: EngineBook) -> None:
        """Count an engine's prompts in the pool's saturation, if it is usable."""
        prompts = book.forecast.queued_tokens * self.fits.seconds_per_input_token(True)
        share = min(1.0, prompts / self._prompt_seconds) if book.capacity else 0.0
        self._prompt_shares += share - book.prompt_share
        book.prompt_share = share

    def presume_computed(self, book: EngineBook, job: Job, now: float) -> None:
        """The prompt of a job whose answer comes in one piece should have been computed by now."""
        book.forecast.advance(now)
        if job.request is None:
            self._not_queued(book, job)
        else:
            self._computed(book, job, job.request.classification)

    # What is learned

    def learn_begin(self, book: EngineBook, job: Job, now: float, ttft_seconds: float | None) -> None:
        """A job's first token has come so long after its dispatch; None when that is not known."""
        forecast = book.forecast
        forecast.advance(now)
        job.begun = True
        job.begun_at = now
        if job.request is None or job.adopted:
            self._not_queued(book, job)
            return
        classification = job.request.classification
        if classification.shows_beginning:
            if ttft_seconds is not None:
                forecast.learn_ttft(classification.generates, job.uncached_tokens, job.found, ttft_seconds)
            self._computed(book, job, classification)
            if classification.generates and book.unseen:
                # Engines compute prompts in the order in which they came.
                before = job.attempt.dispatch
                for earlier in [other for other in book.unseen.values() if other.attempt.dispatch < before]:
                    self.presume_computed(book, earlier, now)
        elif job.request_id in book.unseen:
            self._computed(book, job, classification)

    def _computed(self, book: EngineBook, job: Job, classification: Classification) -> None:
        """A job's prompt has been computed; ``advance`` comes before."""
        self._not_queued(book, job)
        forecast, generates = book.forecast, classification.generates
        price = forecast.seconds_per_input_token(generates)
        if price:
            self.prices.learn_input(classification.route, price)
        forecast.computed(generates, job.uncached_tokens)
        if generates:
            job.decoding = True
            forecast.decoding += 1
            job.clocks = forecast.clocks

    def learn_overdue(self, book: EngineBook, job: Job, now: float) -> None:
        """A job is given up on, and has had no first token so long after its dispatch."""
        waited = now - job.dispatched_at
        unseen = job.request is None or not job.request.classification.shows_beginning
        if job.request is not None and not unseen and waited > (job.predicted_ttft or 0.0):
            book.forecast.learn_ttft(job.request.classification.generates, job.uncached_tokens, job.found, waited)

    def learn_finish(self, book: EngineBook, job: Job, now: float, output_tokens: int) -> None:
        """A job is about to be taken off its engine because it is complete."""
        forecast = book.forecast
        forecast.advance(now)
        seconds = now - job.dispatched_at
        self._pace.record(job.tokens, seconds)
        book.pace.record(job.tokens, seconds)
        book.seconds_per_token = book.pace.seconds_per_token(self._pace.seconds_per_token(FIRST_PACE))
        if output_tokens < LEAST_TPOT_TOKENS or not job.decoding or job.request is None or now <= job.clocks.at:
            return
        classification = job.request.classification
        if classification.shows_beginning:
            forecast.learn_answer(job.clocks, output_tokens)
        # Where the beginning is only presumed it is a small part of the whole.
        self.prices.learn_output(classification.route, output_tokens, forecast.share_since(job.clocks))

    # Routes

    def route(self, route: Route) -> RouteBook:
        """The engines of a route."""
        return self._routes.book(route)

    def routes_of(self, book: EngineBook) -> Iterable[Route]:
        """The routes asked for so far that an engine serves."""
        return self._routes.of(book)
