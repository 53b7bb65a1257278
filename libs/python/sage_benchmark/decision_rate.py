"""How many requests a second one manager can decide on: ``python -m sage_benchmark.decision_rate``.

Each step is one request's whole life in the entries: submitted behind a deep queue, dispatched when another finishes,
first token, finished. CPU time is counted, so that other work on the machine matters less.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random

from sage_control_plane.manager import ControlPlaneManager
from sage_control_plane.policies.admission_settings import AdmissionSettings
from sage_control_plane.policies.registry import policy_names
from sage_control_plane.request.engine_state import EngineSpec, EngineState, ModelCard
from sage_control_plane.request.request import (
    Classification,
    PendingRequest,
    Priority,
    RequestKind,
    ServiceClass,
    ServiceLevel,
)
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.decisions import Dispatch
from sage_platform.process_tuning import settle_garbage_collector

CONCURRENCY = 8
CLASSES = list(ServiceClass)
# Far enough that nothing in the deep queue is late: what is late takes another way through a policy.
SLO = ServiceLevel(ttft_ms=600_000)


@dataclass(frozen=True, slots=True)
class DecisionRate:
    """The measurement; ``per_second`` is requests through the entries for each second of CPU."""

    policy: str
    engines: int
    queued: int
    per_second: float


def measure(policy: str, *, engines: int = 100, queued: int = 10_000, requests: int = 20_000) -> DecisionRate:
    """Measure one policy with ``queued`` requests waiting throughout."""
    settings = ControlSettings(headroom=0.0, admission=AdmissionSettings(max_queued=queued + requests))
    manager = ControlPlaneManager("main", policy, settings, epoch=1, random=Random(1))
    card = ModelCard("m", frozenset({RequestKind.LLM_CHAT}))
    for number in range(engines):
        manager.engine_updated(EngineState(EngineSpec(f"e{number}", "x", (card,), max_concurrency=CONCURRENCY)), 0.0)
    filling = queued + engines * CONCURRENCY
    pending = [_request(number) for number in range(filling + requests)]
    for request in pending[:filling]:
        manager.submit(request, request.arrived_at)
    now = pending[filling - 1].arrived_at
    running = [decision for decision in manager.decide(now) if isinstance(decision, Dispatch)]
    random = Random(2)
    began, before = time.process_time(), manager.totals.dispatched
    for request in pending[filling:]:
        now = request.arrived_at
        slot = random.randrange(len(running))
        running[slot], running[-1] = running[-1], running[slot]
        done = running.pop()
        manager.submit(request, now)
        manager.first_token(done.request_id, done.attempt, now)
        manager.finished(done.request_id, done.attempt, now)
        # A policy that keeps engines free for what is more urgent may dispatch nothing now, and several another time.
        running += [decision for decision in manager.decide(now) if isinstance(decision, Dispatch)]
    seconds = time.process_time() - began
    return DecisionRate(policy, engines, manager.queued, (manager.totals.dispatched - before) / seconds)


def _request(number: int) -> PendingRequest:
    classification = Classification(
        RequestKind.LLM_CHAT, "main", "m", CLASSES[number % 4], Priority.NORMAL, SLO, 100, 50
    )
    arrived_at = number * 1e-4
    return PendingRequest(f"r{number}", f"t{number % 7}", classification, arrived_at, arrived_at + 1e6)


def main() -> None:
    """Measure and print every policy, with the garbage collector as services have it."""
    settle_garbage_collector()
    for policy in policy_names():
        rate = measure(policy)
        print(f"{policy:10} {rate.engines} engines, {rate.queued} queued: {rate.per_second:,.0f} requests/s")


if __name__ == "__main__":
    main()
