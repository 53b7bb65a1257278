"""The engines of a pool, indexed by route so that a decision need not look at each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sage_control_plane.policies.bands import band_of
from sage_control_plane.pool.batch_limit import limit_batch
from sage_control_plane.pool.breaker import Breaker, BreakerState, Verdict
from sage_control_plane.pool.breaker_settings import BreakerSettings
from sage_control_plane.pool.credits import Credits
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.learning import PoolLearning
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.pool.reservation import Reservation
from sage_control_plane.pool.route_index import RouteEngines, RouteIndex
from sage_control_plane.pool.saturation import Saturation
from sage_control_plane.prediction.pace import Pace
from sage_control_plane.request.engine_state import EngineState
from sage_control_plane.request.request import PendingRequest, Route

# For how long a prompt counts as queued whose end is not observed and for which there is no trusted prediction.
UNPREDICTED_SECONDS = 1.0


class EnginePool:
    """The engines, their credits and their load. Only the pool changes entries and attempts.

    Args:
        admits: returns whether an engine may get any request now; called when the engine changes.
        headroom: share of an engine's concurrency that may be outstanding on top of it.

    Attributes:
        entries: the engines by id; for reading.
        draining: ids of the engines that operators drain, registered or not; for reading.
        load: how full the pool is; for reading.
    """

    def __init__(
        self,
        entries: dict[str, EngineEntry],
        admits: Callable[[EngineEntry], bool],
        learning: PoolLearning,
        prefixes: PrefixIndex,
        load: Saturation,
        reservation: Reservation,
        breaker: BreakerSettings,
        headroom: float,
    ) -> None:
        self._admits, self._learning, self._prefixes, self.load = admits, learning, prefixes, load
        self._breaker, self._headroom, self._reservation = breaker, headroom, reservation
        self.draining: set[str] = set()
        self.entries = entries
        self._routes = RouteIndex(self.entries)

    def route(self, route: Route) -> RouteEngines:
        """Return the engines of a route."""
        return self._routes.engines_of(route)

    def routes_of(self, entry: EngineEntry) -> Iterable[Route]:
        """Return the routes known so far that an engine serves."""
        return self._routes.served_by(entry)

    def uncached_tokens(self, entry: EngineEntry, request: PendingRequest) -> float:
        """Return the input tokens of the request that the engine is not expected to have cached."""
        return request.classification.input_tokens * (1.0 - self._prefixes.matched(entry.engine_id, request))

    # Engines

    def update(self, state: EngineState, now: float) -> EngineEntry:
        """Add an engine, or update its state; return its entry."""
        spec = state.spec
        entry = self.entries.get(spec.engine_id)
        if entry is None:
            entry = EngineEntry(
                spec.engine_id,
                state,
                Credits(spec, self._headroom),
                Breaker(self._breaker),
                Pace(),
                self._learning.first_seconds_per_token,
                self._learning.new_forecast(),
                draining=spec.engine_id in self.draining,
            )
            self.entries[spec.engine_id] = entry
            self._learning.resize(len(self.entries))
            self._routes.join(entry)
            self._reservation.join(entry)
        else:
            old, entry.state = entry.state, state
            if old.spec != spec:
                entry.credits.resize(spec, self._headroom, replaced=spec.url != old.spec.url)
                self._routes.leave(entry)
                self._routes.join(entry)
                self._reservation.regroup()
        load = state.load
        entry.forecast.update_load(load)
        if load is None:
            entry.credits.reset_caps()
        else:
            entry.credits.correct(load.running, load.waiting, load.kv_cache_usage)
        entry.forecast.advance(now)
        limit_batch(entry, self._reservation.tightest(entry, now))
        self.refresh(entry)
        return entry

    def remove(self, engine_id: str, now: float) -> None:
        """Remove an engine; its attempts stay in its entry, and hold no seat any more."""
        entry = self.entries.pop(engine_id, None)
        if entry is not None:
            self._routes.leave(entry)
            self.load.remove(entry)
            self._reservation.regroup()
            for attempt in entry.running.values():
                self._reservation.give(entry, attempt, now)
            self._learning.resize(len(self.entries))
            self._prefixes.remove(engine_id)

    def set_draining(self, engine_id: str, draining: bool) -> EngineEntry | None:
        """Mark an engine, registered or not; return its entry, None when it is not registered."""
        (self.draining.add if draining else self.draining.discard)(engine_id)
        entry = self.entries.get(engine_id)
        if entry is not None:
            entry.draining = draining
            self.refresh(entry)
        return entry

    def refresh(self, entry: EngineEntry) -> None:
        """Apply the engine filters again, after a change of the engine."""
        self.load.update_capacity(entry)
        free = self._admits(entry)
        if free != entry.free:
            entry.free = free
            self._routes.refresh(entry)

    def forget_load(self, engine_id: str) -> EngineEntry | None:
        """Go by an engine's spec alone, for want of a recent load report; return its entry, None when there is none."""
        entry = self.entries.get(engine_id)
        if entry is not None:
            entry.credits.reset_caps()
        return entry

    def end_ejection(self, engine_id: str) -> EngineEntry | None:
        """Admit one probe to an ejected engine; return its entry, None when there is none."""
        entry = self.entries.get(engine_id)
        if entry is not None:
            entry.breaker.half_open()
        return entry

    def may_eject(self, entry: EngineEntry) -> bool:
        """Return whether the engine's breaker may open and leave enough engines for each of its models."""
        for name in {name for card in entry.state.spec.models for name in card.names}:
            peers = [peer for peer in self.entries.values() if peer.state.spec.card(name) is not None]
            others = sum(peer.breaker.state is not BreakerState.CLOSED for peer in peers if peer is not entry)
            if others + 1 > len(peers) * self._breaker.max_ejection_percent / 100:
                return False
        return True

    # Attempts

    def arrived(self, request: PendingRequest, now: float) -> None:
        """Count a request that was admitted among the demand for seats."""
        self._reservation.arrived(request, band_of(request), self._learning.patience_seconds(request), now)

    def finished(self, attempt: DispatchedAttempt, now: float, output_tokens: int | None) -> None:
        """Learn from a complete answer that is still on its engine."""
        entry = self.entries[attempt.engine_id]
        self._learning.finished(entry, attempt, now, output_tokens)
        entry.credits.ended(attempt.tokens, now - attempt.dispatched_at, now, attempt.seconds_since_shown_begin(now))
        if output_tokens is not None:
            self._reservation.answered(attempt, output_tokens)
            if not entry.pace_known:  # a new engine's batch grows with each answer, not only with each heartbeat
                limit_batch(entry, self._reservation.tightest(entry, now))

    def take(self, entry: EngineEntry, attempt: DispatchedAttempt, now: float) -> None:
        """Put an attempt on an engine."""
        entry.forecast.advance(now)
        entry.running[attempt.request_id] = attempt
        entry.credits.take(attempt.tokens)
        entry.forecast.running += 1
        self.load.outstanding += 1
        if attempt.request is not None and not attempt.begun:
            attempt.uncached_tokens = self.uncached_tokens(entry, attempt.request)
        # How long it holds its seat matters where some are kept for others.
        timed = self._reservation.group(entry).patience_seconds
        self._reservation.take(entry, attempt, self._learning.hold_seconds(entry, attempt) if timed else None, now)
        if attempt.request is not None and not attempt.begun:
            self._expect(entry, attempt, attempt.request, now)
        entry.dispatched += 1
        entry.breaker.dispatched()
        self.refresh(entry)

    def _expect(self, entry: EngineEntry, attempt: DispatchedAttempt, request: PendingRequest, now: float) -> None:
        """Count an attempt's prompt as queued on its engine, and predict when it is computed."""
        forecast, classification = entry.forecast, request.classification
        if classification.slo.tpot_ms:
            attempt.tpot_target_ms = classification.slo.tpot_ms
            entry.add_tpot_target(attempt.tpot_target_ms)
        attempt.load_at_dispatch = forecast.load
        expected = forecast.ttft_seconds(classification.generates, attempt.uncached_tokens)
        if classification.shows_beginning:
            attempt.predicted_ttft = expected
        else:
            entry.prefill_pending[attempt.request_id] = attempt
            attempt.prefilled_by = now + (UNPREDICTED_SECONDS if expected is None else expected)
        attempt.queued_tokens = self._learning.queued_tokens(classification.generates, attempt.uncached_tokens)
        self.load.add_prompts(entry, attempt.queued_tokens)
        self._prefixes.add(entry.engine_id, request)
        peers = self._routes.engines_of(classification.route).serving
        self._prefixes.recent.add(classification.route, entry.engine_id, attempt.uncached_tokens, len(peers), now)

    def take_begun(self, entry: EngineEntry, attempt: DispatchedAttempt, now: float, ttft_seconds: float) -> None:
        """Put an attempt back on the engine that it was taken off; its answer has begun."""
        attempt.begun = True
        self.take(entry, attempt, now)
        self.begin(attempt, now, ttft_seconds)

    def give(self, attempt: DispatchedAttempt, verdict: Verdict, now: float) -> tuple[EngineEntry, float | None]:
        """Take an attempt off its engine; ``refresh`` the engine afterwards.

        Returns:
            The engine's entry, and for how many seconds it is ejected; None if it is not.
        """
        entry = self.entries[attempt.engine_id]
        del entry.running[attempt.request_id]
        entry.credits.give(attempt.tokens)
        forecast = entry.forecast
        forecast.running -= 1
        if attempt.decoding:
            attempt.decoding = False
            forecast.decoding -= 1
        if attempt.tpot_target_ms is not None:
            entry.remove_tpot_target(attempt.tpot_target_ms)
            attempt.tpot_target_ms = None
        self._unqueue(entry, attempt)
        attempt.prefilled_by = None
        self.load.outstanding -= 1
        self._reservation.give(entry, attempt, now)
        breaker = entry.breaker
        if verdict is Verdict.SUCCEEDED:
            breaker.succeeded()
        elif verdict is Verdict.NEUTRAL:
            breaker.neutral()
        else:
            breaker.failed()
            if breaker.tripped and self.may_eject(entry):
                return entry, breaker.open()
        return entry, None

    def begin(self, attempt: DispatchedAttempt, now: float, ttft_seconds: float | None) -> EngineEntry:
        """Note an attempt's first token; return its engine's entry. ``ttft_seconds`` is None when not known."""
        entry = self.entries[attempt.engine_id]
        entry.forecast.advance(now)
        attempt.begun = True
        attempt.begun_at = now
        if attempt.request is None or attempt.adopted:
            self._unqueue(entry, attempt)
            return entry
        classification = attempt.request.classification
        if classification.shows_beginning:
            if ttft_seconds is not None:
                self._learning.first_token(entry, attempt, ttft_seconds)
            self._prefilled(entry, attempt, attempt.request)
            if classification.generates:
                entry.credits.began(entry.forecast.decoding)
            if classification.generates and entry.prefill_pending:
                # Engines compute prompts in the order in which they came.
                before = attempt.number.dispatch
                for earlier in [other for other in entry.prefill_pending.values() if other.number.dispatch < before]:
                    self.assume_prefilled(entry, earlier, now)
        elif attempt.request_id in entry.prefill_pending:
            self._prefilled(entry, attempt, attempt.request)
        return entry

    def prefill_due(self, of: tuple[str, str], now: float) -> EngineEntry | None:
        """Assume the prompt of an attempt to be computed, if it still runs; return its engine's entry, None otherwise.

        Args:
            of: ids of its engine and of its request.
        """
        engine_id, request_id = of
        entry = self.entries.get(engine_id)
        attempt = None if entry is None else entry.prefill_pending.get(request_id)
        if entry is None or attempt is None:
            return None
        self.assume_prefilled(entry, attempt, now)
        return entry

    def assume_prefilled(self, entry: EngineEntry, attempt: DispatchedAttempt, now: float) -> None:
        """Count the prompt of an attempt whose answer comes in one piece as computed."""
        entry.forecast.advance(now)
        if attempt.request is None:
            self._unqueue(entry, attempt)
        else:
            self._prefilled(entry, attempt, attempt.request)

    def note_missing(self, attempt: DispatchedAttempt) -> int:
        """Count a heartbeat that does not list the attempt; return the count since one did."""
        attempt.missing_heartbeats += 1
        return attempt.missing_heartbeats

    def note_listed(self, attempt: DispatchedAttempt) -> None:
        """Reset the count of ``note_missing``: a heartbeat lists the attempt."""
        attempt.missing_heartbeats = 0

    def _prefilled(self, entry: EngineEntry, attempt: DispatchedAttempt, request: PendingRequest) -> None:
        """Count a prompt as computed. Requires the forecast's ``advance`` before."""
        self._unqueue(entry, attempt)
        self._learning.prefilled(entry, attempt, request)
        if request.classification.generates:
            attempt.decoding = True
            entry.forecast.decoding += 1
            attempt.counters_at_begin = entry.forecast.counters

    def _unqueue(self, entry: EngineEntry, attempt: DispatchedAttempt) -> None:
        if attempt.queued_tokens:
            self.load.add_prompts(entry, -attempt.queued_tokens)
            attempt.queued_tokens = 0
        entry.prefill_pending.pop(attempt.request_id, None)
