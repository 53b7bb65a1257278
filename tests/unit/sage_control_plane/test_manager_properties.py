"""Whatever happens in whatever order: every request ends once, and the accounts balance at each step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fixtures.control_plane import Pool, engine, request
from fixtures.seat_counts import assert_seats_balance, seats_left_over
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sage_common.errors import ContendedError, EngineFailedError, InvalidRequestError, UnavailableError
from sage_control_plane.policies.registry import policy_names
from sage_control_plane.prediction.settings import PredictionSettings
from sage_control_plane.request.engine_state import EnginePhase, EngineState, RunningRequest
from sage_control_plane.request.request import Attempt, ServiceClass, TokensUsed
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.decisions import Dispatch, Ended, Refuse
from sage_control_plane.tracking.reconciliation import EPOCH_SHIFT
from sage_control_plane.tracking.settings import HedgeSettings, RetrySettings
from sage_control_plane.tracking.tracked_request import TrackedRequest

ENGINES = {
    "a": engine("a", "m", concurrency=2),
    "b": engine("b", "m", "n", concurrency=1, token_cap=150),
    "c": engine("c", "n", concurrency=3, token_cap=400),
}
ERRORS = (
    EngineFailedError("reset", retryable=True),
    EngineFailedError("boom", upstream_status=500, retryable=True),
    UnavailableError("engine is gone", retryable=True),
    ContendedError("busy", retryable=True),
    InvalidRequestError("bad"),
)
EPOCH = 4
SETTINGS = ControlSettings(headroom=0.0, retries=RetrySettings(absence_seconds=2.0))


class ManagerMachine(RuleBasedStateMachine):
    """Random events; ``submitted`` maps each id to its latest submission."""

    knobs = SETTINGS

    @initialize(policy=st.sampled_from(policy_names()))
    def start(self, policy: str) -> None:
        self.pool = Pool(policy=policy, settings=self.knobs, epoch=EPOCH)
        self.submitted: dict[str, int] = {}
        self.up: dict[str, EngineState] = {}
        self.counted = 0
        self.ended: Counter[str] = Counter()

    def act(self) -> None:
        self.pool.decide()
        for decision in self.pool.decisions[self.counted :]:
            if isinstance(decision, Ended | Refuse):
                self.ended[decision.request_id] += 1
        self.counted = len(self.pool.decisions)

    def pick(self, number: int) -> Dispatch | None:
        running = sorted(self.pool.running.values(), key=lambda d: d.request_id)
        return running[number % len(running)] if running else None

    def listed(self, engine_id: str) -> tuple[RunningRequest, ...]:
        """What an engine says that it runs."""
        return tuple(RunningRequest(d.request_id, d.attempt) for d in self.live() if d.engine_id == engine_id)

    def live(self) -> list[Dispatch]:
        """Attempts that engines may run."""
        return list(self.pool.running.values())

    def tracked(self, request_id: str) -> TrackedRequest:
        """What the manager tracks; nothing outside it needs to know of single attempts."""
        tracked = self.pool.manager._table.get(request_id)
        assert tracked is not None
        return tracked

    @rule(
        model=st.sampled_from(["m", "n", "unknown"]),
        tokens=st.sampled_from([10, 100, 500]),
        timeout=st.sampled_from([0.5, 3.0, 60.0]),
        service_class=st.sampled_from(ServiceClass),
    )
    def submit(self, model: str, tokens: int, timeout: float, service_class: ServiceClass) -> None:
        name = f"r{len(self.submitted)}"
        self.submitted[name] = 1
        pool = self.pool
        made = request(name, pool.now, model=model, tokens=tokens, timeout=timeout, service_class=service_class)
        pool.manager.submit(made, pool.now)
        self.act()

    @rule(number=st.integers(0, 50), again=st.booleans())
    def resubmit(self, number: int, again: bool) -> None:
        held = [name for name in self.submitted if self.pool.manager.holds(name)]
        if held:
            name = held[number % len(held)]
            self.submitted[name] += again
            made = request(name, self.pool.now, submission=self.submitted[name])
            assert self.pool.manager.submit(made, self.pool.now) == again
            if again:
                self.pool.running.pop(name, None)
            self.act()

    @rule(number=st.integers(0, 50))
    def cancel(self, number: int) -> None:
        if self.submitted:
            self.pool.manager.cancel(sorted(self.submitted)[number % len(self.submitted)])
            self.act()

    @rule(number=st.integers(0, 50))
    def first_token(self, number: int) -> None:
        if (dispatch := self.pick(number)) is not None:
            self.pool.manager.first_token(dispatch.request_id, dispatch.attempt, self.pool.now)
            self.act()

    @rule(number=st.integers(0, 50))
    def finish(self, number: int) -> None:
        if (dispatch := self.pick(number)) is not None:
            self.pool.manager.finished(dispatch.request_id, dispatch.attempt, self.pool.now, TokensUsed(5, 5))
            self.act()

    @rule(number=st.integers(0, 50), error=st.sampled_from(ERRORS), begun=st.booleans())
    def fail(self, number: int, error: Exception, begun: bool) -> None:
        if (dispatch := self.pick(number)) is not None:
            self.pool.running.pop(dispatch.request_id, None)
            assert isinstance(error, (EngineFailedError, UnavailableError, ContendedError, InvalidRequestError))
            self.pool.manager.failed(
                dispatch.request_id, dispatch.attempt, error, self.pool.now, started_replying=begun
            )
            self.act()

    @rule(
        name=st.sampled_from(sorted(ENGINES)),
        phase=st.sampled_from([EnginePhase.READY, EnginePhase.READY, EnginePhase.STARTING, EnginePhase.UNHEALTHY]),
        forgets=st.booleans(),
        inherited=st.booleans(),
    )
    def heartbeat(self, name: str, phase: EnginePhase, forgets: bool, inherited: bool) -> None:
        running = () if forgets else self.listed(name)
        if inherited:
            running += (RunningRequest(f"old-{name}", Attempt(1, (EPOCH - 1 << EPOCH_SHIFT) + 1), tokens=100),)
        self.up[name] = replace(ENGINES[name], phase=phase, running=running)
        self.pool.manager.engine_updated(self.up[name], self.pool.now)
        self.act()

    @rule(name=st.sampled_from(sorted(ENGINES)))
    def lose_engine(self, name: str) -> None:
        self.up.pop(name, None)
        self.pool.manager.engine_lost(name, "killed", self.pool.now)
        self.act()

    @rule(name=st.sampled_from(sorted(ENGINES)), on=st.booleans())
    def drain(self, name: str, on: bool) -> None:
        self.pool.manager.set_draining(name, on, self.pool.now)
        self.act()

    @rule(policy=st.sampled_from(policy_names()))
    def change_policy(self, policy: str) -> None:
        self.pool.manager.set_policy(policy, self.pool.now)
        self.act()

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.pool.advance(seconds)
        self.act()

    @invariant()
    def credits_are_kept(self) -> None:
        if not hasattr(self, "pool"):
            return
        for name, entry in self.pool.manager.engines.items():
            # Two that have begun run until their edge stops one, whatever the bounds.
            mine = [it for it in entry.running.values() if it.number.dispatch >> EPOCH_SHIFT >= EPOCH]
            own = [it for it in mine if not (self.tracked(it.request_id).hedged and it.begun)]
            assert entry.credits.requests == len(entry.running) >= 0
            assert entry.credits.tokens == sum(it.tokens for it in entry.running.values()) >= 0
            assert len(own) <= ENGINES[name].spec.max_concurrency
            cap = ENGINES[name].spec.max_outstanding_tokens
            if cap and len(own) > 1:
                assert sum(it.tokens for it in own) <= cap
        assert self.pool.manager.outstanding == sum(len(b.running) for b in self.pool.manager.engines.values())
        assert self.pool.manager.saturation >= 0

    @invariant()
    def seats_are_counted_once(self) -> None:
        if hasattr(self, "pool"):
            assert_seats_balance(self.pool.manager)

    @invariant()
    def every_request_is_somewhere_and_ends_once(self) -> None:
        if not hasattr(self, "pool"):
            return
        for name in self.submitted:
            assert self.ended[name] == (0 if self.pool.manager.holds(name) else 1), name
        queued = sum(waiting.requests for waiting in self.pool.manager.queued_by_class.values())
        assert queued == self.pool.manager.queued

    def teardown(self) -> None:
        """Given working engines and time, everything ends."""
        if not hasattr(self, "pool"):
            return
        for _ in range(300):
            for name, state in ENGINES.items():
                self.pool.manager.set_draining(name, False, self.pool.now)
                self.pool.manager.engine_updated(replace(state, running=self.listed(name)), self.pool.now)
            self.act()
            for dispatch in self.live():
                self.pool.manager.finished(dispatch.request_id, dispatch.attempt, self.pool.now)
            self.pool.advance(0.6)
            self.act()
            if not self.pool.manager.queued and not self.pool.manager.outstanding:
                break
        assert seats_left_over(self.pool.manager) == []
        assert self.ended.keys() >= self.submitted.keys()
        assert all(self.ended[name] == 1 for name in self.submitted)
        assert self.pool.manager.queued == self.pool.manager.outstanding == 0
        assert not any(self.pool.manager.holds(name) for name in ("pair", *(f"old-{name}" for name in ENGINES)))


TestManager = ManagerMachine.TestCase
TestManager.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class HedgingMachine(ManagerMachine):
    """The same with many hedges, and with word of any attempt, however late."""

    knobs = replace(
        SETTINGS,
        hedging=HedgeSettings(ratio=1.0, least_seconds=0.05),
        prediction=PredictionSettings(least_samples=2, most_error=1e9),
    )

    @initialize(policy=st.sampled_from(policy_names()), requests=st.integers(1, 4))
    def start(self, policy: str, requests: int) -> None:
        super().start(policy)
        for name in ENGINES:
            self.heartbeat(name, EnginePhase.READY, True, False)
        for number in range(6):
            taught = request(f"t{number}", self.pool.now, tokens=10)
            self.pool.submit(taught)
            self.pool.now += 0.01
            self.pool.finish(taught.request_id)
        self.act()
        for _ in range(requests):
            self.submit("m", 10, 60.0, ServiceClass.INTERACTIVE)

    def pick(self, number: int) -> Dispatch | None:
        known = self.pool.dispatches()[-8:]
        return known[number % len(known)] if known else None

    def live(self) -> list[Dispatch]:
        return [d for d in self.pool.dispatches() if self.pool.manager.holds(d.request_id)]

    @rule(name=st.sampled_from(sorted(ENGINES)), begun=st.booleans())
    def inherit_one_of_two(self, name: str, begun: bool) -> None:
        attempt = Attempt(1, (EPOCH - 1 << EPOCH_SHIFT) + 1 + sorted(ENGINES).index(name))
        running = (*self.listed(name), RunningRequest("pair", attempt, begun, 10))
        self.pool.manager.engine_updated(replace(ENGINES[name], running=running), self.pool.now)
        self.act()

    @rule(number=st.integers(0, 50))
    def both_begin(self, number: int) -> None:
        self.pool.advance(0.3)
        self.act()
        hedges = [dispatch for dispatch in self.pool.dispatches() if dispatch.hedge]
        if hedges:
            hedge = hedges[-1 - number % len(hedges)]
            assert hedge.hedge_of is not None
            first = Attempt(hedge.attempt.submission, hedge.hedge_of)
            for attempt in (first, hedge.attempt) if number % 2 else (hedge.attempt, first):
                self.pool.manager.first_token(hedge.request_id, attempt, self.pool.now)
            self.act()

    @rule(number=st.integers(0, 50), reported=st.booleans())
    def stop(self, number: int, reported: bool) -> None:
        if (dispatch := self.pick(number)) is not None:
            if reported:
                self.pool.manager.cancel(dispatch.request_id, dispatch.attempt, self.pool.now, dispatch.engine_id)
            else:
                self.pool.manager.cancelled(dispatch.request_id, dispatch.attempt, self.pool.now)
            self.act()

    @invariant()
    def an_attempt_beside_another_runs_as_it_does(self) -> None:
        if not hasattr(self, "pool"):
            return
        entries = self.pool.manager.engines
        running = {name for entry in entries.values() for name in entry.running}
        for tracked in map(self.tracked, running):
            name, first, hedge = tracked.request_id, tracked.attempt, tracked.hedge
            assert first is not None
            assert entries[first.engine_id].running[name] is first
            if hedge is not None:
                assert hedge is not first
                assert hedge.engine_id != first.engine_id
                assert entries[hedge.engine_id].running[name] is hedge


TestHedging = HedgingMachine.TestCase
TestHedging.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
