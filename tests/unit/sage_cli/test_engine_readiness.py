from __future__ import annotations

from dataclasses import replace

import pytest

from sage_cli.mesh.engine_readiness import refuse_given_up, what_is_missing
from sage_common.errors import UnavailableError
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, EngineState, ModelCard
from sage_control_plane.request.request import RequestKind

BOTH = frozenset({RequestKind.LLM_CHAT, RequestKind.EMBEDDING})


def engine(name: str, kind: RequestKind, phase: EnginePhase, reason: str = "") -> EngineState:
    return EngineState(EngineSpec(name, "x", (ModelCard(name, frozenset({kind})),)), phase, reason)


def test_nothing_is_missing_once_each_kind_of_work_has_a_ready_engine() -> None:
    engines = [
        engine("chat", RequestKind.LLM_CHAT, EnginePhase.READY),
        engine("embed", RequestKind.EMBEDDING, EnginePhase.READY),
        engine("spare", RequestKind.LLM_CHAT, EnginePhase.UNHEALTHY),
    ]
    assert what_is_missing(engines, BOTH) == ""
    assert what_is_missing([], frozenset()) == ""


def test_what_is_missing_names_the_work_and_why_its_engine_is_not_ready() -> None:
    engines = [
        engine("chat", RequestKind.LLM_CHAT, EnginePhase.UNHEALTHY, "connection refused"),
        engine("embed", RequestKind.EMBEDDING, EnginePhase.READY),
    ]
    assert what_is_missing(engines, BOTH) == "no engine for chat yet: chat unhealthy (connection refused)"
    assert what_is_missing([], BOTH) == "no engine for chat or embedding yet"


GIVEN_UP = "given up: no such model\n`sage engine restart chat` tries again"


def test_waiting_for_what_was_given_up_ends_with_its_reason_and_no_remedy_that_a_stopped_mesh_lacks() -> None:
    engines = [
        engine("chat", RequestKind.LLM_CHAT, EnginePhase.UNHEALTHY, GIVEN_UP),
        engine("embed", RequestKind.EMBEDDING, EnginePhase.STARTING),
    ]
    with pytest.raises(UnavailableError) as failure:
        refuse_given_up(engines, BOTH, of_settings=False)
    assert failure.value.message == "chat: given up: no such model"
    refuse_given_up([*engines, engine("other", RequestKind.LLM_CHAT, EnginePhase.STARTING)], BOTH, of_settings=False)


def test_a_model_that_was_asked_for_is_not_made_up_for_by_another() -> None:
    engines = [
        engine("asked", RequestKind.LLM_CHAT, EnginePhase.UNHEALTHY, GIVEN_UP),
        engine("other", RequestKind.LLM_CHAT, EnginePhase.READY),
    ]
    with pytest.raises(UnavailableError, match="asked: given up"):
        refuse_given_up(engines, BOTH, of_settings=True)
    registered = replace(engines[0], spec=replace(engines[0].spec, labels=(("registered", "mine"),)))
    refuse_given_up([registered, engines[1]], BOTH, of_settings=True)
