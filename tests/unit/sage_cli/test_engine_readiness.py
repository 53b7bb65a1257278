from __future__ import annotations

from sage_cli.mesh.engine_readiness import what_is_missing
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
