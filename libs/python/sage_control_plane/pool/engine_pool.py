"""The engines of a pool, and for each route those that are free, without asking every engine at every decision."""

from __future__ import annotations

from collections.abc import Iterable

from sage_control_plane.placement.placer import Placer
from sage_control_plane.pool.breaker import Breaker, BreakerState
from sage_control_plane.pool.credits import Credits
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.pool.route_index import RouteEngines, RouteIndex
from sage_control_plane.prediction.forecast import Forecast, LatencyFits, prompt_weight
from sage_control_plane.prediction.latency import Load
from sage_control_plane.prediction.pace import Pace
from sage_control_plane.prediction.prices import Prices
from sage_control_plane.request.engine_state import EngineState
from sage_control_plane.request.request import Classification, PendingRequest, Route
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.tracked_request import Job

# Assumed pace before anything has been measured: 1,000 tokens a second.
FIRST_PACE = 1e-3
NO_LOAD = Load()
# How long a prompt is taken to be queued whose computing is not seen, while nothing trustworthy is known.
UNPREDICTED_SECONDS = 1.0
# Shorter answers say little about the time between tokens.
LEAST_TPOT_TOKENS = 8
# In pools of more engines than this, what is typical is learned from a part of the samples.
ENGINES_SAMPLED = 8


class EnginePool:
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
        self.entries: dict[str, EngineEntry] = {}
        self._routes = RouteIndex(self.entries)

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

    def uncached_tokens(self, entry: EngineEntry, request: PendingRequest) -> float:
        """Input tokens of the request that the engine has not cached, as far as is known."""
        return request.classification.input_tokens * (1.0 - self._prefixes.matched(entry.engine_id, request))

    # Engines

    def update(self, state: EngineState) -> EngineEntry:
        """Take an engine's reported state in."""
        spec = state.spec
        entry = self.entries.get(spec.engine_id)
        if entry is None:
            entry = EngineEntry(
                spec.engine_id,
                state,
                Credits(spec, self._headroom),
                Breaker(self._breaker),
                Pace(),
                self._pace.seconds_per_token(FIRST_PACE),
                Forecast(self._prediction, self.fits),
                draining=spec.engine_id in self.draining,
            )
            self.entries[spec.engine_id] = entry
            self.fits.every = 1 + len(self.entries) // ENGINES_SAMPLED
            self._routes.join(entry)
        else:
            old, entry.state = entry.state, state
            if old.spec != spec:
                entry.credits.resize(spec, self._headroom)
                self._routes.leave(entry)
                self._routes.join(entry)
        load = state.load
        entry.forecast.update_load(load)
        if load is None:
            entry.credits.reset_caps()
        else:
            entry.credits.correct(load.waiting, load.kv_cache_usage)
        self.refresh(entry)
        return entry

    def remove(self, engine_id: str) -> EngineEntry | None:
        """Strike an engine off; return its entry with the jobs that were running."""
        entry = self.entries.pop(engine_id, None)
        if entry is not None:
            self._routes.leave(entry)
            self._outstanding -= entry.credits.requests
            self._capacity -= entry.capacity
            self.usable -= bool(entry.capacity)
            self._queue(entry, -sum(job.queued_tokens for job in entry.running.values()))
            self.fits.every = 1 + len(self.entries) // ENGINES_SAMPLED
            self._prefixes.remove(engine_id)
        return entry

    def set_draining(self, engine_id: str, draining: bool) -> EngineEntry | None:
        """Mark an engine, known or yet to come; return its entry if it is known."""
        if draining:
            self.draining.add(engine_id)
        else:
            self.draining.discard(engine_id)
        entry = self.entries.get(engine_id)
        if entry is not None:
            entry.draining = draining
            self.refresh(entry)
        return entry

    def refresh(self, entry: EngineEntry) -> None:
        """Ask the engine filters again, because something about the engine has changed."""
        capacity = entry.credits.request_cap if entry.usable else 0
        self._capacity += capacity - entry.capacity
        self.usable += bool(capacity) - bool(entry.capacity)
        entry.capacity = capacity
        self._share_prompts(entry)
        free = self._placer.admits(entry)
        if free != entry.free:
            entry.free = free
            self._routes.refresh(entry)

    def may_eject(self, entry: EngineEntry) -> bool:
        """Whether the breaker of ``entry`` may open without leaving too few engines for any of its models."""
        for name in {name for card in entry.state.spec.models for name in card.names}:
            peers = [peer for peer in self.entries.values() if peer.state.spec.card(name) is not None]
            others = sum(peer.breaker.state is not BreakerState.CLOSED for peer in peers if peer is not entry)
            if others + 1 > len(peers) * self._breaker.max_ejection_percent / 100:
                return False
        return True

    # Credits

    def take(self, entry: EngineEntry, job: Job, now: float) -> None:
        """Charge a job to an engine."""
        forecast = entry.forecast
        forecast.advance(now)
        entry.running[job.request_id] = job
        entry.credits.take(job.tokens)
        forecast.running += 1
        if job.request is not None and not job.begun:
            classification = job.request.classification
            if classification.slo.tpot_ms:
                job.paced_ms = classification.slo.tpot_ms
                entry.pace_to(job.paced_ms)
            job.load_at_dispatch = forecast.load
            job.uncached_tokens = self.uncached_tokens(entry, job.request)
            expected = forecast.ttft_seconds(classification.generates, job.uncached_tokens)
            if classification.shows_beginning:
                job.predicted_ttft = expected
            else:
                entry.prefill_pending[job.request_id] = job
                job.computed_by = now + (UNPREDICTED_SECONDS if expected is None else expected)
            # Rounded, so that sums of them come back to exactly nothing.
            job.queued_tokens = round(job.uncached_tokens * prompt_weight(self.fits, classification.generates)) or 1
            self._queue(entry, job.queued_tokens)
            self._prefixes.add(entry.engine_id, job.request)
        self._outstanding += 1

    def give(self, entry: EngineEntry, job: Job) -> None:
        """Take a job off an engine; ``refresh`` it afterwards."""
        del entry.running[job.request_id]
        entry.credits.give(job.tokens)
        forecast = entry.forecast
        forecast.running -= 1
        if job.decoding:
            job.decoding = False
            forecast.decoding -= 1
        if job.paced_ms:
            entry.unpace(job.paced_ms)
            job.paced_ms = 0
        self._not_queued(entry, job)
        self._outstanding -= 1

    def _not_queued(self, entry: EngineEntry, job: Job) -> None:
        self._queue(entry, -job.queued_tokens)
        job.queued_tokens = 0
        entry.prefill_pending.pop(job.request_id, None)

    def _queue(self, entry: EngineEntry, tokens: int) -> None:
        """So many more tokens of prompts, or fewer, are queued on an engine.

        An engine is at most full, however long its queue: a few long prompts must not make the others seem busy too.
        """
        entry.forecast.queued_tokens += tokens
        self._queued_tokens += tokens
        self._share_prompts(entry)

    def _share_prompts(self, entry: EngineEntry) -> None:
        """Count an engine's prompts in the pool's saturation, if it is usable."""
        prompts = entry.forecast.queued_tokens * self.fits.seconds_per_input_token(True)
        share = min(1.0, prompts / self._prompt_seconds) if entry.capacity else 0.0
        self._prompt_shares += share - entry.prompt_share
        entry.prompt_share = share

    def assume_prefilled(self, entry: EngineEntry, job: Job, now: float) -> None:
        """The prompt of a job whose answer comes in one piece should have been computed by now."""
        entry.forecast.advance(now)
        if job.request is None:
            self._not_queued(entry, job)
        else:
            self._computed(entry, job, job.request.classification)

    # What is learned

    def learn_begin(self, entry: EngineEntry, job: Job, now: float, ttft_seconds: float | None) -> None:
        """A job's first token has come so long after its dispatch; None when that is not known."""
        forecast = entry.forecast
        forecast.advance(now)
        job.begun = True
        job.begun_at = now
        if job.request is None or job.adopted:
            self._not_queued(entry, job)
            return
        classification = job.request.classification
        if classification.shows_beginning:
            if ttft_seconds is not None:
                forecast.learn_ttft(classification.generates, job.uncached_tokens, job.load_at_dispatch, ttft_seconds)
            self._computed(entry, job, classification)
            if classification.generates and entry.prefill_pending:
                # Engines compute prompts in the order in which they came.
                before = job.attempt.dispatch
                for earlier in [other for other in entry.prefill_pending.values() if other.attempt.dispatch < before]:
                    self.assume_prefilled(entry, earlier, now)
        elif job.request_id in entry.prefill_pending:
            self._computed(entry, job, classification)

    def _computed(self, entry: EngineEntry, job: Job, classification: Classification) -> None:
        """A job's prompt has been computed; ``advance`` comes before."""
        self._not_queued(entry, job)
        forecast, generates = entry.forecast, classification.generates
        price = forecast.seconds_per_input_token(generates)
        if price:
            self.prices.learn_input(classification.route, price)
        forecast.computed(generates, job.uncached_tokens)
        if generates:
            job.decoding = True
            forecast.decoding += 1
            job.clocks = forecast.clocks

    def learn_overdue(self, entry: EngineEntry, job: Job, now: float) -> None:
        """A job is given up on, and has had no first token so long after its dispatch."""
        waited = now - job.dispatched_at
        prefill_pending = job.request is None or not job.request.classification.shows_beginning
        if job.request is not None and not prefill_pending and waited > (job.predicted_ttft or 0.0):
            generates = job.request.classification.generates
            entry.forecast.learn_ttft(generates, job.uncached_tokens, job.load_at_dispatch, waited)

    def learn_finish(self, entry: EngineEntry, job: Job, now: float, output_tokens: int) -> None:
        """A job is about to be taken off its engine because it is complete."""
        forecast = entry.forecast
        forecast.advance(now)
        seconds = now - job.dispatched_at
        self._pace.record(job.tokens, seconds)
        entry.pace.record(job.tokens, seconds)
        entry.seconds_per_token = entry.pace.seconds_per_token(self._pace.seconds_per_token(FIRST_PACE))
        if output_tokens < LEAST_TPOT_TOKENS or not job.decoding or job.request is None or now <= job.clocks.at:
            return
        classification = job.request.classification
        if classification.shows_beginning:
            forecast.learn_answer(job.clocks, output_tokens)
        # Where the beginning is only presumed it is a small part of the whole.
        self.prices.learn_output(classification.route, output_tokens, forecast.share_since(job.clocks))

    # Routes

    def route(self, route: Route) -> RouteEngines:
        """The engines of a route."""
        return self._routes.entry(route)

    def routes_of(self, entry: EngineEntry) -> Iterable[Route]:
        """The routes asked for so far that an engine serves."""
        return self._routes.of(entry)
