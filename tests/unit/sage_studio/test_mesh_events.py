"""What is told of two looks at the mesh."""

from __future__ import annotations

from dataclasses import replace

from sage_client.management.views import EngineView, PoolView
from sage_studio.mesh_events import MeshSnapshot, Service, changes_between

ENGINE = EngineView("a-1", "openai", "default", "ready", "", "c1", ("m",), 8, 0, 0, 0, 0.0, "", {}, name="a")
BEFORE = MeshSnapshot(
    (PoolView("default", "hybrid", "s1"),),
    (ENGINE,),
    (Service("scheduler", "s1", "h"), Service("scheduler", "s2", "h"), Service("gateway", "g1", "h")),
)


def told(after: MeshSnapshot) -> list[tuple[str, str]]:
    return [(event.text, event.tone) for event in changes_between(BEFORE, after, 0)]


def test_nothing_changed_says_nothing() -> None:
    assert told(BEFORE) == []


def test_a_scheduler_that_dies_and_the_one_that_takes_over_are_told() -> None:
    after = replace(BEFORE, pools=(PoolView("default", "hybrid", "s2"),), services=BEFORE.services[1:])
    assert told(after) == [("s1 is gone; 1 of its kind left", "plain"), ("s2 leads pool default after s1", "good")]


def test_a_pool_that_nobody_leads_and_the_last_of_a_kind_are_bad() -> None:
    after = replace(BEFORE, pools=(PoolView("default", "fifo", None),), services=BEFORE.services[:2])
    assert told(after) == [
        ("g1 is gone; none of its kind left", "bad"),
        ("nobody leads pool default", "bad"),
        ("pool default is scheduled by fifo, no longer by hybrid", "plain"),
    ]


def test_engines_that_come_go_fail_and_drain_are_told() -> None:
    unwell = replace(ENGINE, phase="unhealthy", reason="refused\nlast words", draining=True, breaker="open")
    other = replace(ENGINE, engine_id="b-1", name="b", phase="starting")
    assert told(replace(BEFORE, engines=(unwell, other))) == [
        ("engine a is unhealthy: refused", "bad"),
        ("engine a gets no new work", "plain"),
        ("engine a fails and gets no work for a while", "bad"),
        ("engine b has joined (starting)", "good"),
    ]
    assert told(replace(BEFORE, engines=())) == [("engine a is gone", "bad")]
