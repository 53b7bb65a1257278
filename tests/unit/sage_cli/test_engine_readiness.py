from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sage_cli.mesh.engine_readiness import (
    GENERATING_SECONDS,
    refuse_given_up,
    wait_for_engines,
    what_is_missing,
    what_still_loads,
)
from sage_common.errors import UnavailableError
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, EngineState, ModelCard
from sage_control_plane.request.request import RequestKind

CHAT = frozenset({RequestKind.LLM_CHAT})
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


def chatting(name: str, implementation: str, phase: EnginePhase, reason: str = "") -> EngineState:
    one = engine(name, RequestKind.LLM_CHAT, phase, reason)
    return replace(one, spec=replace(one.spec, implementation=implementation))


QUOTING = chatting("sage-extractive", "extractive", EnginePhase.READY)
LOADING = chatting("small", "llamacpp", EnginePhase.STARTING, "reading the model")


def test_a_model_that_generates_and_loads_is_named_while_only_a_quoting_one_could_chat() -> None:
    assert what_still_loads([QUOTING, LOADING]) == "small starting (reading the model)"
    assert what_still_loads([QUOTING]) == ""
    assert what_still_loads([QUOTING, LOADING, chatting("big", "openai", EnginePhase.READY)]) == ""
    assert what_still_loads([QUOTING, replace(LOADING, phase=EnginePhase.UNHEALTHY)]) == ""


def test_a_server_that_sage_does_not_start_is_not_waited_for() -> None:
    assert what_still_loads([QUOTING, chatting("remote", "openai", EnginePhase.STARTING, "refused")]) == ""


class ScriptedDirectory:
    """Engines, and a time that passes while nothing of them is heard."""

    def __init__(self, *engines: EngineState) -> None:
        self.engines = {one.spec.engine_id: one for one in engines}
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    async def wait_until(self, complete: Callable[[ScriptedDirectory], bool], timeout_seconds: float) -> bool:
        if complete(self):
            return True
        self.seconds += timeout_seconds
        return False

    async def ask(self) -> None:
        """Nothing is heard."""


async def test_the_mesh_is_up_without_a_model_that_loads_for_too_long() -> None:
    directory, told = ScriptedDirectory(QUOTING, LOADING), list[str]()
    assert await wait_for_engines(directory, CHAT, told.append, clock=directory) == [QUOTING, LOADING]  # type: ignore[arg-type]
    assert told == ["small starting (reading the model)"]
    assert GENERATING_SECONDS <= directory.seconds <= GENERATING_SECONDS + 2


async def test_the_mesh_is_up_at_once_where_nothing_loads() -> None:
    directory = ScriptedDirectory(QUOTING)
    assert await wait_for_engines(directory, CHAT, lambda text: None, clock=directory) == [QUOTING]  # type: ignore[arg-type]
    assert directory.seconds == 0
