"""What a server sends before its first content does not bind the caller to it."""

from __future__ import annotations

import asyncio

import pytest
from fixtures.outside_mesh import Outside
from fixtures.outside_server import ROLE, Asked, Wire, answer, chunk, event

BEFORE = [
    pytest.param(b": ping\n\n", id="comment"),
    pytest.param(ROLE, id="role"),
    pytest.param(chunk(None, role="assistant"), id="role alone"),
    pytest.param(ROLE + chunk("") + chunk(None), id="empty deltas"),
    pytest.param(event({"choices": [], "prompt_filter_results": []}), id="no choices"),
    pytest.param(event({"type": "ping"}), id="ping"),
    pytest.param(b"event: ping\ndata: {}\n\nretry: 500\n\n", id="other fields"),
    pytest.param(ROLE + b'data: {"choices":[{"index":0,"delta":{"cont', id="torn"),
]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("clean", [True, False])
async def test_it_does_not_stop_a_restart_elsewhere(outside: Outside, before: bytes, clean: bool) -> None:
    async def break_off(wire: Wire, _asked: Asked) -> None:
        await wire.begin()
        await wire.chunk(before)
        await asyncio.sleep(0.05)
        if clean:
            await wire.end()
        else:
            wire.cut()

    failing = await outside.serve(break_off, concurrency=8)
    good = await outside.serve(answer, concurrency=1)
    while not failing.asked:
        answered = await outside.ask(stream=True)
        assert (answered.status, answered.text, answered.done) == (200, "hello", True)
        assert answered.body.count(b'"role"') == 1
    assert good.asked


async def test_content_of_any_kind_begins_the_answer(outside: Outside) -> None:
    call = {"index": 0, "id": "t-1", "function": {"name": "f", "arguments": ""}}
    for delta in ({"reasoning_content": "hm"}, {"tool_calls": [call]}, {"refusal": "no"}, {"audio": {"data": "x"}}):

        async def stall(wire: Wire, _asked: Asked, said: bytes = chunk(None, **delta)) -> None:  # type: ignore[arg-type]
            await wire.begin()
            await wire.chunk(ROLE + said)
            await wire.until_closed()

        if not outside.servers:
            await outside.serve(stall)
        outside.servers[0].post = stall
        body = {"model": "outside", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        async with outside.http.post("/v1/chat/completions", json=body) as response:
            assert (await asyncio.wait_for(response.content.readany(), 5)).startswith(ROLE)
