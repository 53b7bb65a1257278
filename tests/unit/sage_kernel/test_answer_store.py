from __future__ import annotations

import asyncio

from fixtures.eventually import eventually

from sage_kernel.answer_store import SharedCalls, answer_key


def test_a_key_tells_scope_model_and_parameters_apart() -> None:
    keys = {
        answer_key(scope, model, parameters)
        for scope in ("", "run")
        for model in (None, "a")
        for parameters in ({"t": 1}, {"t": 2})
    }
    assert len(keys) == 8
    assert answer_key("", "m", {"a": 1, "b": 2}) == answer_key("", "m", {"b": 2, "a": 1})


async def test_equal_calls_under_way_are_one() -> None:
    calls = SharedCalls()
    gate = asyncio.Event()
    made = 0

    async def call() -> bytes:
        nonlocal made
        made += 1
        await gate.wait()
        return b"answer"

    first, second = (asyncio.create_task(calls.once("k", call)) for _ in range(2))
    await eventually(lambda: made == 1)
    first.cancel()
    gate.set()
    assert await second == b"answer"
    assert made == 1
    assert await calls.once("k", call) == b"answer"
    assert made == 2
