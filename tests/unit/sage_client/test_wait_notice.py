"""What a call says of its waiting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sage_client.wait_notice import notice_of, what_is_waited_for
from sage_common.errors import UnavailableError
from sage_control_plane.request.request import RequestKind

CHAT = RequestKind.LLM_CHAT


def engine(name: str, phase: str, reason: str = "", model: str = "m", kind: str = "llm_chat") -> dict[str, Any]:
    return {
        "engine_id": f"{name}-x1",
        "name": name,
        "phase": phase,
        "reason": reason,
        "models": [model],
        "kinds": [kind],
        "aliases": [f"{model}-alias"],
        "outstanding": 3,
    }


def test_a_wait_names_the_engines_that_are_not_ready_and_why() -> None:
    engines = [engine("big", "starting", "loading weights: 40 %\nprivate"), engine("other", "ready", model="n")]
    text, ready = what_is_waited_for(engines, "m", CHAT)
    assert (text, ready) == ("the model 'm': big is starting (loading weights: 40 %)", False)


def test_a_wait_for_an_engine_that_works_says_so() -> None:
    assert what_is_waited_for([engine("big", "ready")], "m", CHAT) == ("an answer of big (3 outstanding)", True)


def test_a_wait_for_nobody_says_so() -> None:
    assert what_is_waited_for([], "m", CHAT) == ("the model 'm', which no engine serves yet", False)


def test_a_wait_is_for_the_engines_that_do_the_work_and_a_model_may_be_called_by_its_alias() -> None:
    engines = [engine("big", "ready"), engine("vectors", "ready", model="e", kind="embedding")]
    vectors = ("an answer of vectors (3 outstanding)", True)
    assert what_is_waited_for(engines, None, RequestKind.EMBEDDING) == vectors
    assert what_is_waited_for(engines, "e-alias", RequestKind.EMBEDDING) == vectors


def test_engines_of_a_mesh_that_does_not_say_their_work_may_do_any() -> None:
    old = {name: value for name, value in engine("big", "ready").items() if name not in ("kinds", "aliases")}
    assert what_is_waited_for([old], "m", RequestKind.EMBEDDING) == ("an answer of big (3 outstanding)", True)


async def test_a_notice_comes_after_the_time_and_again_when_something_changes() -> None:
    said: list[str] = []
    heard = asyncio.Event()

    def on_wait(text: str) -> None:
        said.append(text)
        heard.set()

    async def describe() -> str:
        return "the model"

    async with notice_of(describe, on_wait, after_seconds=0.0):
        await asyncio.wait_for(heard.wait(), 5)
    assert said == ["waiting for the model"]


async def test_a_short_call_says_nothing_and_a_failure_to_describe_is_no_failure_of_the_call() -> None:
    said: list[str] = []

    async def describe() -> str:
        raise UnavailableError("no gateway")

    async with notice_of(describe, said.append):
        pass
    assert said == []
    heard = asyncio.Event()
    async with notice_of(describe, lambda text: (said.append(text), heard.set())[0], after_seconds=0.0):
        await asyncio.wait_for(heard.wait(), 5)
    assert said == ["waiting for an answer (no gateway)"]


async def test_an_error_of_the_call_passes_through() -> None:
    with pytest.raises(KeyError):
        async with notice_of(lambda: asyncio.sleep(0, "x"), print):
            raise KeyError
