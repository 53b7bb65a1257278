"""How a stream ends: with [DONE] or without, cut, or not at all."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from fixtures.eventually import eventually
from fixtures.outside_mesh import Outside
from fixtures.outside_server import DONE, HELLO, MODEL, ROLE, USAGE, Asked, Wire, chunk, event, streams


async def test_a_clean_end_after_the_finish_reason_is_success_and_gets_its_done(outside: Outside) -> None:
    server = await outside.serve(streams(*HELLO))
    answered = await outside.ask(stream=True)
    assert (answered.status, answered.text, answered.done) == (200, "hello", True)
    assert len(server.asked) == 1


async def test_the_usage_after_the_finish_reason_is_passed_on_before_the_done(outside: Outside) -> None:
    await outside.serve(streams(*HELLO, event({"object": "chat.completion.chunk", "choices": [], "usage": USAGE})))
    answered = await outside.ask(stream=True, stream_options={"include_usage": True})
    assert b'"prompt_tokens":7' in answered.events[-2].data.encode()
    assert answered.events[-1].data == "[DONE]"


async def test_every_choice_must_have_its_finish_reason(outside: Outside) -> None:
    both = (chunk("a"), chunk("b", index=1), chunk(None, "stop"))
    server = await outside.serve(streams(*both, chunk(None, "length", index=1)))
    assert (await outside.ask(stream=True, n=2)).done
    server.post = streams(*both)
    assert "finish_reason" in (await outside.ask(stream=True, n=2)).error["message"]


async def test_a_last_event_without_its_blank_line_counts(outside: Outside) -> None:
    await outside.serve(streams(*HELLO[:-1], HELLO[-1].rstrip(b"\n")))
    answered = await outside.ask(stream=True)
    assert (answered.text, answered.done) == ("hello", True)


@pytest.mark.parametrize("clean", [True, False])
async def test_an_end_without_a_finish_reason_is_an_error(outside: Outside, clean: bool) -> None:
    async def short(wire: Wire, _asked: Asked) -> None:
        await wire.begin()
        await wire.chunk(ROLE + chunk("hel"))
        if clean:
            await wire.end()
        else:
            wire.cut()

    await outside.serve(short)
    answered = await outside.ask(stream=True)
    assert answered.status == 200
    assert answered.text == "hel"
    assert answered.error["status"] == 502


async def test_a_connection_that_breaks_after_the_finish_reason_spoils_nothing(outside: Outside) -> None:
    async def broken(wire: Wire, _asked: Asked) -> None:
        await wire.begin()
        for one in HELLO:
            await wire.chunk(one)
        await asyncio.sleep(0.05)
        wire.cut()

    server = await outside.serve(broken)
    answered = await outside.ask(stream=True)
    assert (answered.text, answered.done) == ("hello", True)
    assert len(server.asked) == 1


@pytest.mark.parametrize("last", [b"", DONE])
async def test_a_socket_left_open_after_the_end_holds_neither_client_nor_slot(outside: Outside, last: bytes) -> None:
    closed = asyncio.Event()

    async def open_end(wire: Wire, _asked: Asked) -> None:
        await wire.begin()
        await wire.chunk(b"".join(HELLO) + last)
        await wire.until_closed()
        closed.set()

    await outside.serve(open_end)
    answered = await asyncio.wait_for(outside.ask(stream=True), 5)
    assert (answered.text, answered.done) == ("hello", True)
    await asyncio.wait_for(closed.wait(), 5)
    await eventually(lambda: outside.mesh.executor.outstanding == 0, seconds=5)


@pytest.mark.parametrize("sent", [(DONE,), (), (b": ping\n\n",), (ROLE, DONE)])
async def test_a_stream_that_says_nothing_is_no_success(outside: Outside, sent: tuple[bytes, ...]) -> None:
    await outside.serve(streams(*sent))
    answered = await outside.ask(stream=True)
    assert answered.status == 502
    assert MODEL not in answered.json


async def test_the_usages_of_several_choices_are_added_up_as_llama_cpp_sends_them(outside: Outside) -> None:
    usage = event({"object": "chat.completion.chunk", "choices": [], "usage": USAGE})
    ends = (chunk("a"), chunk("b", index=1), chunk(None, "stop"), chunk(None, "stop", index=1), usage, usage, DONE)
    await outside.serve(streams(*ends), {"data": [{"id": MODEL, "owned_by": "llamacpp"}]})
    body = {"model": MODEL, "stream": True, "n": 2, "messages": [{"role": "user", "content": "hi"}]}
    reply = outside.mesh.submit("two", orjson.dumps(body))
    assert usage not in await reply.read()
    assert reply.usage.completion_tokens == 2 * USAGE["completion_tokens"]
    assert reply.usage.prompt_tokens == USAGE["prompt_tokens"]
