"""Whatever happens in whatever order: every request ends once, and the books balance at each step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fixtures.control_plane import Pool, engine, request
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sage_common.errors import ContendedError, EngineFailedError, InvalidRequestError, UnavailableError
from sage_control_plane.decisions import Dispatch, Ended, Refuse
from sage_control_plane.engines import EnginePhase, EngineState, RunningRequest
from sage_control_plane.policies.registry import policy_names
from sage_control_plane.reconciliation import EPOCH_SHIFT
from sage_control_plane.requests import Attempt, ServiceClass
from sage_control_plane.settings import ControlSettings

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
SETTINGS = ControlSettings(headroom=0.0, absence_seconds=2.0)


class ManagerMachine(RuleBasedStateMachine):
    """Random events; ``submitted`` maps each id to its latest submission."""

    @initialize(policy=st.sampled_from(policy_names()))
    def start(self, policy: str) -> None:
        self.pool = Pool(policy=policy, settings=SETTINGS, epoch=EPOCH)
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
            self.pool.manager.finished(dispatch.request_id, dispatch.attempt, self.pool.now, (5, 5))
            self.act()

    @rule(number=st.integers(0, 50), error=st.sampled_from(ERRORS), begun=st.booleans())
    def fail(self, number: int, error: Exception, begun: bool) -> None:
        if (dispatch := self.pick(number)) is not None:
            del self.pool.running[dispatch.request_id]
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
        running = (
            ()
            if forgets
            else tuple(
                RunningRequest(d.request_id, d.attempt) for d in self.pool.running.values() if d.engine_id == name
            )
        )
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
        for name, book in self.pool.manager.engines.items():
            own = [job for job in book.running.values() if job.attempt.dispatch >> EPOCH_SHIFT >= EPOCH]
            assert book.credits.requests == len(book.running) >= 0
            assert book.credits.tokens == sum(job.tokens for job in book.running.values()) >= 0
            assert len(own) <= ENGINES[name].spec.max_concurrency
            cap = ENGINES[name].spec.max_outstanding_tokens
            if cap and len(own) > 1:
                assert sum(job.tokens for job in own) <= cap
        assert self.pool.manager.outstanding == sum(len(b.running) for b in self.pool.manager.engines.values())
        assert self.pool.manager.saturation >= 0

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
                listed = tuple(
                    RunningRequest(d.request_id, d.attempt) for d in self.pool.running.values() if d.engine_id == name
                )
                self.pool.manager.engine_updated(replace(state, running=listed), self.pool.now)
            self.act()
            for dispatch in list(self.pool.running.values()):
                self.pool.manager.finished(dispatch.request_id, dispatch.attempt, self.pool.now)
            self.pool.advance(0.6)
            self.act()
            if not self.pool.manager.queued and not self.pool.manager.outstanding:
                break
        assert self.ended.keys() >= self.submitted.keys()
        assert all(self.ended[name] == 1 for name in self.submitted)
        assert self.pool.manager.queued == self.pool.manager.outstanding == 0
        assert not any(self.pool.manager.holds(f"old-{name}") for name in ENGINES)


TestManager = ManagerMachine.TestCase
TestManager.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
