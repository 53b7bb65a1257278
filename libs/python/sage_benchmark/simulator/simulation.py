"""The event loop of the simulation."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from sage_benchmark.report.metrics import RunMetrics
from sage_benchmark.report.outcome import OK, RequestOutcome
from sage_benchmark.simulated_engine.engine_work import Emission, EngineWork
from sage_benchmark.simulator.classified_arrival import EMBEDDING_MODEL, POOL, TEXT_MODEL, own_blocks, pending
from sage_benchmark.simulator.simulated_engines import SimulatedEngines
from sage_benchmark.simulator.simulation_plan import SimulationPlan
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.engine_fault import EngineFault, FaultKind
from sage_benchmark.workload.rendered_request import prefix_blocks
from sage_common.errors import ErrorKind
from sage_control_plane.manager import ControlPlaneManager
from sage_control_plane.request.engine_state import (
    CapacitySource,
    EngineLoad,
    EnginePhase,
    EngineSpec,
    EngineState,
    ModelCard,
    RunningRequest,
)
from sage_control_plane.request.request import Attempt, PendingRequest, RequestKind, TokensUsed
from sage_control_plane.tracking.decisions import Abort, Decision, Dispatch, Interrupt, Refuse

STATUS = {ErrorKind.CONTENDED: 429, ErrorKind.UNAVAILABLE: 503, ErrorKind.DEADLINE_EXCEEDED: 504}
_TEXT = frozenset({RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE})


@dataclass(slots=True)
class _Flight:
    """One request under way.

    Attributes:
        prefix_blocks: what engines know it by, whether the control plane sees it or not.
        generated: tokens that it has from engines that have died, or from before it was interrupted.
        cached: tokens of its prompt that its engine had cached when it got it.
    """

    arrival: Arrival
    request: PendingRequest
    prefix_blocks: tuple[int, ...]
    generated: int = 0
    cached: int = 0
    first_token_at: float | None = None
    engine: int = -1
    queue_ms: float = 0.0
    attempts: int = 0


class Simulation:
    """Plays a workload against a manager and engine models. Time is a number; nothing sleeps.

    Args:
        arrivals: in order of time.
    """

    def __init__(self, plan: SimulationPlan, arrivals: Sequence[Arrival]) -> None:
        self.plan = plan
        self.manager = ControlPlaneManager(POOL, plan.policy, plan.control, epoch=1, random=Random(plan.seed))
        self.outcomes: list[RequestOutcome] = []
        self._arrivals = arrivals
        self._engines = SimulatedEngines(plan)
        self._states = [self._state(index) for index in range(plan.engines)]
        self._index = {state.spec.engine_id: index for index, state in enumerate(self._states)}
        self._flights: dict[str, _Flight] = {}
        # On an engine: its key for the attempt, and the attempt.
        self._on_engine: dict[str, tuple[str, Attempt]] = {}
        self._timers: list[tuple[float, int, str, int]] = []
        self._sequence = 0
        self._interruptions = 0
        self._recomputed_tokens = 0

    def completed(self, metrics: RunMetrics) -> RunMetrics:
        """Return the metrics of the outcomes with what only the engines tell."""
        counts = [model.prompt_tokens for model in self._engines.models]
        prompts, cached = (sum(each) for each in zip(*counts, strict=True))
        processed = prompts - cached + sum(outcome.tokens for outcome in self.outcomes)
        return replace(
            metrics,
            cached_prompt_share=cached / max(1, prompts),
            cached_prompt_tokens=cached,
            interruptions=self._interruptions,
            recomputed_share=self._recomputed_tokens / max(1, processed),
        )

    def run(self) -> list[RequestOutcome]:
        """Play it to the end of the last request; return the outcomes in the order of their ends."""
        plan, manager, engines = self.plan, self.manager, self._engines
        for state in self._states:
            manager.engine_updated(state, 0.0)
        for number, fault in enumerate(plan.faults):
            self._at(fault.at_seconds, "fault", number)
        if plan.heartbeat_seconds:
            self._at(plan.heartbeat_seconds, "heartbeat", 0)
        arrivals, position, last = self._arrivals, 0, len(self._arrivals)
        while position < last or self._flights:
            now = min(
                arrivals[position].at_seconds if position < last else float("inf"),
                engines.next_at(),
                manager.next_deadline() or float("inf"),
                self._timers[0][0] if self._timers else float("inf"),
            )
            if now == float("inf"):
                raise RuntimeError(f"{len(self._flights)} requests are under way and nothing is due; this is a bug")
            for index, emissions in engines.due(now):
                for emission in emissions:
                    self._emitted(index, emission)
            while self._timers and self._timers[0][0] <= now:
                _, _, kind, number = heapq.heappop(self._timers)
                self._on_timer(kind, number, now)
            while position < last and arrivals[position].at_seconds <= now:
                self._arrive(arrivals[position], now)
                position += 1
            deadline = manager.next_deadline()
            if deadline is not None and deadline <= now:
                manager.tick(now)
            while decisions := manager.decide(now):
                for decision in decisions:
                    self._carry_out(decision, now)
        return self.outcomes

    # What happens

    def _arrive(self, arrival: Arrival, now: float) -> None:
        request_id = str(arrival.index)
        request = pending(
            arrival, request_id, self.plan.engine.block_tokens, self.plan.timeout_seconds, self.plan.levels
        )
        flight = self._flights[request_id] = _Flight(arrival, request, request.classification.prefix_blocks)
        if not self.plan.affinity:
            blind = replace(request.classification, prefix_blocks=())
            flight.request = replace(request, classification=blind)
        self.manager.submit(flight.request, now)

    def _emitted(self, index: int, emission: Emission) -> None:
        request_id, attempt = self._on_engine[emission.key]
        flight = self._flights.get(request_id)
        if flight is None:
            # Another attempt has answered it; this one's abort is still to be carried out.
            if emission.finished:
                del self._on_engine[emission.key]
            return
        manager, at = self.manager, emission.at
        # An answer in one piece shows nothing before its end, neither to its client nor to the scheduler.
        if flight.first_token_at is None and (emission.finished or flight.arrival.streaming):
            flight.first_token_at = at
        if emission.first == 0 and emission.until and flight.request.classification.streaming:
            flight.engine = index
            used = TokensUsed(flight.request.classification.input_tokens, None, flight.cached)
            manager.first_token(request_id, attempt, at, resumable=True, used=used)
        if emission.finished:
            flight.engine = index
            del self._on_engine[emission.key]
            if flight.arrival.conversation:
                answered = prefix_blocks(flight.arrival, self.plan.engine.block_tokens, answered=True)
                self._engines.models[index].keep(answered)
            tokens = flight.generated + emission.until
            used = TokensUsed(flight.request.classification.input_tokens, emission.until or None, flight.cached)
            manager.finished(request_id, attempt, at, used)
            self._end(request_id, flight, at, OK, "", tokens)

    def _on_timer(self, kind: str, number: int, now: float) -> None:
        if kind == "fault":
            fault = self.plan.faults[number]
            self._on_fault(fault, now)
        elif kind == "noticed":
            self.manager.engine_lost(self._states[number].spec.engine_id, "it has died", now)
        elif kind == "heartbeat":
            for index, state in enumerate(self._states):
                if index not in self._engines.dead:
                    self.manager.engine_updated(self._heartbeat(index, state, now), now)
            self._at(now + self.plan.heartbeat_seconds, "heartbeat", 0)

    def _on_fault(self, fault: EngineFault, now: float) -> None:
        if fault.kind is FaultKind.SLOW:
            self._engines.slow_down(fault.engine, now, fault.factor)
            return
        for lost in self._engines.kill(fault.engine, now):
            request_id, _ = self._on_engine.pop(lost.key)
            if request_id in self._flights:
                self._flights[request_id].generated += lost.generated
        self._at(now + self.plan.death_noticed_seconds, "noticed", fault.engine)

    # What is decided

    def _carry_out(self, decision: Decision, now: float) -> None:
        if isinstance(decision, Dispatch):
            self._dispatch(decision, now)
        elif isinstance(decision, Refuse):
            flight = self._flights[decision.request_id]
            if flight.generated and decision.error.code == "engine_lost":
                self._resume(flight, now)
                return
            status = STATUS.get(decision.error.kind, 502)
            self._end(decision.request_id, flight, now, status, decision.error.code, flight.generated)
        elif isinstance(decision, Interrupt):
            self._interrupt(decision, now)
        elif isinstance(decision, Abort) and decision.engine_id:
            index = self._index[decision.engine_id]
            key = f"{decision.request_id}/{decision.up_to.dispatch}"
            self._on_engine.pop(key, None)
            self._engines.cancel(index, now, key)
            self.manager.cancelled(decision.request_id, decision.up_to, now)

    def _dispatch(self, decision: Dispatch, now: float) -> None:
        flight = self._flights[decision.request_id]
        flight.attempts += 1
        if not decision.hedge:
            flight.queue_ms = decision.queue_us / 1000
        arrival, attempt = flight.arrival, decision.attempt
        key = f"{decision.request_id}/{attempt.dispatch}"
        self._on_engine[key] = (decision.request_id, attempt)
        classification = flight.request.classification
        output = arrival.output_tokens - flight.generated
        work = EngineWork(key, arrival.kind, classification.input_tokens, output, flight.prefix_blocks)
        index = self._index[decision.engine_id]
        if index in self._engines.dead:
            del self._on_engine[key]
        else:
            uncached = self._engines.models[index].uncached_tokens(work)
            flight.cached = work.input_tokens - uncached
            if flight.request.interrupted:
                self._recomputed_tokens += uncached
            self._engines.submit(index, now, work)

    def _interrupt(self, decision: Interrupt, now: float) -> None:
        """The edge stops the attempt and submits what is left; it does not where the answer ends at this moment."""
        flight, index = self._flights[decision.request_id], self._index[decision.engine_id]
        key = f"{decision.request_id}/{decision.attempt.dispatch}"
        generated = self._engines.stop(index, now, key)
        if generated is None:
            return
        del self._on_engine[key]
        self._interruptions += 1
        flight.generated += generated
        if generated:
            flight.prefix_blocks = self._computed_blocks(flight)
            self._engines.models[index].keep(flight.prefix_blocks)
        self.manager.cancel(decision.request_id, decision.attempt, now, decision.engine_id)
        self._resume(flight, now, interrupted=True)

    def _computed_blocks(self, flight: _Flight) -> tuple[int, ...]:
        """Return the blocks of prompt and answer so far; those beyond the prompt's known ones are the request's own."""
        known, index = flight.prefix_blocks, flight.arrival.index
        count = (flight.arrival.input_tokens + flight.generated) // self.plan.engine.block_tokens
        return known + own_blocks(index, len(known), count)

    def _resume(self, flight: _Flight, now: float, *, interrupted: bool = False) -> None:
        """The edge submits what is left of an answer: the text so far becomes part of the prompt."""
        request = flight.request
        tokens = flight.arrival.input_tokens + flight.generated
        flight.request = replace(
            request,
            classification=replace(request.classification, input_tokens=tokens),
            submission=request.submission + 1,
            interrupted=interrupted,
            delivered_tokens=flight.generated,
        )
        self.manager.submit(flight.request, now)

    def _end(self, request_id: str, flight: _Flight, now: float, status: int, error: str, tokens: int) -> None:
        del self._flights[request_id]
        engine = self._states[flight.engine].spec.engine_id if flight.engine >= 0 else ""
        self.outcomes.append(
            RequestOutcome(
                flight.arrival,
                flight.arrival.at_seconds,
                flight.first_token_at,
                now,
                tokens,
                status,
                error,
                engine,
                flight.queue_ms,
                flight.attempts,
            )
        )

    # Engines

    def _state(self, index: int) -> EngineState:
        config, source = self.plan.engine, self.plan.capacity_source
        cards = (ModelCard(TEXT_MODEL, _TEXT), ModelCard(EMBEDDING_MODEL, frozenset({RequestKind.EMBEDDING})))
        spec = EngineSpec(
            f"engine-{index}",
            "simulated",
            cards,
            max_concurrency=self.plan.registered_concurrency or config.max_num_seqs,
            max_outstanding_tokens=0 if source is CapacitySource.UNKNOWN else config.kv_tokens,
            capacity_source=source,
        )
        return EngineState(spec, EnginePhase.READY, executor_id=f"executor-{index}")

    def _heartbeat(self, index: int, state: EngineState, now: float) -> EngineState:
        model = self._engines.models[index]
        running = tuple(
            RunningRequest(attempt.request_id, attempt.number, attempt.begun, attempt.tokens)
            for attempt in self.manager.engines[state.spec.engine_id].running.values()
            if model.holds(f"{attempt.request_id}/{attempt.number.dispatch}")
        )
        load = EngineLoad(model.running, model.waiting, model.kv_usage(now))
        return replace(state, running=running, load=load)

    def _at(self, at: float, kind: str, number: int) -> None:
        self._sequence += 1
        heapq.heappush(self._timers, (at, self._sequence, kind, number))
