"""Heartbeats say since when an engine is as they describe it."""

from __future__ import annotations

from dataclasses import replace

from sage_control_plane.request.engine_state import EngineLoad, EnginePhase, EngineSpec, EngineState, RunningRequest
from sage_control_plane.request.request import Attempt
from sage_mesh.executor.reported_engine import MOST_REPEATS, ReportedEngine

SPEC = EngineSpec("e1", "test", ())
AT_REST = EngineState(SPEC, EnginePhase.READY, phase_seconds=1.0)


def test_an_engine_at_rest_keeps_its_revision() -> None:
    reported = ReportedEngine()
    told = [reported.message(replace(AT_REST, phase_seconds=1.0 * n), n).revision for n in range(1, 10)]
    assert told == [1] * 9


def test_the_time_in_its_phase_goes_on_under_one_revision() -> None:
    reported = ReportedEngine()
    reported.message(AT_REST, 1)
    message = reported.message(replace(AT_REST, phase_seconds=7.5), 2)
    assert (message.revision, message.phase_seconds) == (1, 7.5)


def test_whatever_else_changes_makes_a_revision() -> None:
    changes = (
        replace(AT_REST, spec=replace(SPEC, max_concurrency=2)),
        replace(AT_REST, phase=EnginePhase.DRAINING),
        replace(AT_REST, reason="why"),
        replace(AT_REST, load=EngineLoad(kv_cache_usage=0.5)),
        replace(AT_REST, running=(RunningRequest("r", Attempt(1, 1)),)),
    )
    for changed in changes:
        reported = ReportedEngine()
        told = [reported.message(state, n).revision for n, state in enumerate((AT_REST, changed, changed, AT_REST), 1)]
        assert told == [1, 2, 2, 4]


def test_a_revision_is_not_repeated_for_ever() -> None:
    reported = ReportedEngine()
    told = [reported.message(AT_REST, n).revision for n in range(2 * MOST_REPEATS + 3)]
    assert sorted(set(told)) == [0, MOST_REPEATS + 1, 2 * (MOST_REPEATS + 1)]
