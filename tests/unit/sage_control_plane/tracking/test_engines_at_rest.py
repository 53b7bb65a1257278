"""A report that changes nothing is passed over, and no decision is another for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from fixtures.control_plane import Pool, engine, request
from fixtures.interpreted_only import interpreted_only

from sage_control_plane.request.engine_state import EngineLoad, EnginePhase, EngineState
from sage_control_plane.request.request import ServiceClass, ServiceLevel
from sage_control_plane.tracking.engines_at_rest import TAKEN_IN, EnginesAtRest

CLASSES = tuple(ServiceClass)


def counted(pool: Pool) -> Callable[[EngineState], int]:
    """Count which reports are taken in: those after which the credits were corrected."""
    corrections = [0]

    def report(state: EngineState) -> int:
        entry = pool.manager.engines[state.spec.engine_id]
        before = entry.taken_in
        pool.manager.engine_updated(state, pool.now)
        corrections[0] += not (before == entry.taken_in == TAKEN_IN)
        return corrections[0]

    return report


def test_the_same_report_is_taken_in_until_it_changes_nothing() -> None:
    state = engine("e")
    pool = Pool(state)
    report = counted(pool)
    assert [report(state) for _ in range(6)] == [1, 2, 2, 2, 2, 2]


def test_an_equal_report_is_not_the_same() -> None:
    pool = Pool(engine("e"))
    report = counted(pool)
    assert [report(engine("e")) for _ in range(5)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "state",
    [
        engine("e", phase=EnginePhase.UNHEALTHY),
        EngineState(engine("e").spec, load=EngineLoad(running=2, waiting=1)),
        EngineState(engine("e").spec, load=EngineLoad(kv_cache_usage=0.99)),
    ],
    ids=["unhealthy", "waiting", "full"],
)
def test_what_may_change_by_itself_is_always_taken_in(state: EngineState) -> None:
    pool = Pool(state)
    report = counted(pool)
    assert [report(state) for _ in range(5)] == [1, 2, 3, 4, 5]


def test_after_a_request_reports_are_taken_in_again() -> None:
    state = engine("e")
    pool = Pool(state)
    report = counted(pool)
    for _ in range(5):
        report(state)
    pool.submit(request("r"))
    (dispatch,) = pool.dispatches()
    pool.manager.finished("r", dispatch.attempt, pool.now)
    assert [report(state) for _ in range(5)] == [3, 4, 5, 5, 5]


@interpreted_only
@pytest.mark.parametrize("seed", range(40))
def test_no_decision_is_another_for_reports_that_are_passed_over(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    passing = _play(seed)
    monkeypatch.setattr(EnginesAtRest, "passes", lambda self, entry, state, now: False)
    assert _play(seed) == passing
    assert any("Dispatch" in decision for decision in passing)


def _play(seed: int) -> list[str]:
    """Requests come and go between heartbeats, of which most repeat; return every decision."""
    random = Random(seed)
    loads = [
        None,
        EngineLoad(),
        EngineLoad(running=1),
        EngineLoad(waiting=2, running=1),
        EngineLoad(kv_cache_usage=0.97),
    ]
    models = [("m",), ("m", "n"), ("n",)]
    specs = [engine(f"e{n}", *random.choice(models), concurrency=random.choice((1, 2, 8))).spec for n in range(5)]
    states = {spec.engine_id: EngineState(spec, load=random.choice(loads)) for spec in specs}
    pool = Pool(*states.values(), policy=random.choice(("hybrid", "slo_aware")))
    manager, running, decisions = pool.manager, [], []
    for step in range(400):
        pool.now += random.choice((0.0, 0.01, 0.25))
        what = random.random()
        if what < 0.25:
            made = request(
                f"r{step}",
                pool.now,
                tokens=random.choice((10, 500)),
                model=random.choice("mn"),
                service_class=random.choice(CLASSES),
                streaming=random.random() < 0.5,
            )
            level = ServiceLevel(random.choice((0, 500)), random.choice((0, 0, 0, 50)))
            made = replace(made, classification=replace(made.classification, slo=level))
            manager.submit(made, pool.now)
        elif what < 0.45 and running:
            done = running.pop(random.randrange(len(running)))
            manager.first_token(done.request_id, done.attempt, pool.now, random.random())
            manager.finished(done.request_id, done.attempt, pool.now)
        elif what < 0.5:
            name = random.choice(list(states))
            phase = random.choice([EnginePhase.READY] * 3 + [EnginePhase.UNHEALTHY])
            states[name] = EngineState(states[name].spec, phase, load=random.choice(loads))
        else:
            for state in states.values():
                if not any(one.engine_id == state.spec.engine_id for one in running):
                    manager.engine_updated(state, pool.now)
        manager.tick(pool.now)
        for decision in manager.decide(pool.now):
            decisions.append(repr(decision))
            if hasattr(decision, "candidates"):
                running.append(decision)
    return decisions
