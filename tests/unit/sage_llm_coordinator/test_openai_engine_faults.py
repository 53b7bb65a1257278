"""The engine ``openai`` against servers that refuse, break off, fall silent or talk nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiohttp import web

from sage_common.errors import (
    ContendedError,
    EngineFailedError,
    InvalidRequestError,
    NotFoundError,
    SageError,
    UnavailableError,
)
from sage_control_plane.request.engine_state import EnginePhase
from sage_control_plane.request.request import Attempt
from sage_llm_coordinator.engines.openai_engine import OpenAiEngine
from sage_mesh.engine import EngineRequest
from sage_mesh.executor.direct_call import run_here
from sage_mesh.reply import Media
from sage_mesh.upstream.upstream import SPARE_CONNECTIONS

CHUNK = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"

Make = Callable[..., OpenAiEngine]
MakeRequest = Callable[..., EngineRequest]
Eventually = Callable[..., Awaitable[None]]


async def open_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


async def fail(engine: OpenAiEngine, engine_request: EngineRequest) -> SageError:
    async with run_here(engine, engine_request) as reply:
        with pytest.raises(SageError) as caught:
            await reply.read()
    return caught.value


@pytest.mark.parametrize(
    ("status", "error_class", "retryable"),
    [
        (400, InvalidRequestError, False),
        (404, NotFoundError, False),
        (418, InvalidRequestError, False),
        (429, ContendedError, True),
        (500, EngineFailedError, True),
        (503, UnavailableError, True),
        (307, EngineFailedError, True),
    ],
)
async def test_an_error_status_keeps_the_engines_own_words(
    upstream: Any,
    make_engine: Make,
    make_request: MakeRequest,
    status: int,
    error_class: type[SageError],
    retryable: bool,
) -> None:
    own = {"error": {"message": "because", "param": "messages"}}

    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.json_response(own, status=status, headers={"Retry-After": "7"})

    upstream.completions = refuse
    engine = make_engine()
    await engine.start()
    error = await fail(engine, make_request())
    assert type(error) is error_class
    assert error.retryable is retryable
    assert error.upstream_status == status
    assert orjson.loads(error.upstream_body) == own
    assert "because" in error.message
    if status == 429:
        assert error.retry_after_seconds == 7


async def test_a_callers_mistake_says_nothing_about_the_engine(
    upstream: Any, make_engine: Make, make_request: MakeRequest, eventually: Eventually
) -> None:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no"}}, status=400)

    upstream.completions = refuse
    engine = make_engine()
    await engine.start()
    for _ in range(5):
        await fail(engine, make_request())
    checks = upstream.health_checks
    await eventually(lambda: upstream.health_checks > checks + 1)
    assert engine.phase is EnginePhase.READY


@pytest.mark.parametrize(("code", "fails"), [(b"500", True), (b"null", True), (b"400", False)])
async def test_an_error_event_is_the_engines_failure_unless_it_blames_the_request(
    upstream: Any, make_engine: Make, make_request: MakeRequest, code: bytes, fails: bool
) -> None:
    said = b'data: {"error": {"message": "EngineCore died", "code": %b}}\n\n' % code

    async def die(request: web.Request) -> web.StreamResponse:
        response = await open_stream(request)
        await response.write(CHUNK + said[:20])
        await response.write(said[20:] + DONE)
        return response

    upstream.completions = die
    engine = make_engine()
    await engine.start()
    async with run_here(engine, make_request(stream=True)) as reply:
        pieces = aiter(reply)
        first = await anext(pieces)
        assert first.startswith(CHUNK)
        if fails:
            with pytest.raises(EngineFailedError, match="EngineCore died") as caught:
                await anext(pieces)
            assert caught.value.retryable
        else:
            assert first + b"".join([piece async for piece in pieces]) == CHUNK + said + DONE


async def test_only_a_server_that_is_known_to_continue_chats_continues_anothers(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    unknown, declared = make_engine(), make_engine(continues_chats=True)
    await unknown.start()
    await declared.start()
    continued = replace(make_request(continue_final_message=True), attempt=Attempt(2, 1))
    error = await fail(unknown, continued)
    assert (error.code, error.retryable) == ("engine_cannot_continue", True)
    async with run_here(declared, continued) as reply:
        assert (await reply.head()).media is Media.JSON
    async with run_here(
        unknown, make_request(continue_final_message=True)
    ) as reply:  # the caller's own wish is passed on
        assert (await reply.head()).media is Media.JSON


async def test_a_stream_cut_in_the_middle_is_an_engine_failure(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = await open_stream(request)
        await response.write(CHUNK)
        assert request.transport is not None
        request.transport.abort()
        return response

    upstream.completions = cut
    engine = make_engine()
    await engine.start()
    async with run_here(engine, make_request(stream=True)) as reply:
        assert (await reply.head()).media is Media.EVENT_STREAM
        with pytest.raises(EngineFailedError, match="broke off"):
            await reply.read()


async def test_a_server_that_is_gone_is_told_of_in_the_systems_words(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    engine = make_engine()
    await engine.start()
    await upstream.stop()
    error = await fail(engine, make_request())
    assert isinstance(error, EngineFailedError)
    assert error.retryable
    assert "could not be reached: Connection refused" in error.message


async def test_a_stream_that_ends_without_done_is_not_taken_for_complete(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    async def short(request: web.Request) -> web.StreamResponse:
        response = await open_stream(request)
        await response.write(CHUNK)
        return response

    upstream.completions = short
    engine = make_engine()
    await engine.start()
    error = await fail(engine, make_request(stream=True))
    assert isinstance(error, EngineFailedError)
    assert "[DONE]" in error.message


async def test_garbage_instead_of_json_is_an_engine_failure(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    async def garbage(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>welcome to the proxy</html>", content_type="text/html")

    upstream.completions = garbage
    engine = make_engine()
    await engine.start()
    error = await fail(engine, make_request())
    assert isinstance(error, EngineFailedError)
    assert error.retryable
    assert "welcome to the proxy" in error.message


async def test_a_server_that_falls_silent_is_given_up(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        response = await open_stream(request)
        await response.write(CHUNK)
        await asyncio.Event().wait()
        return response

    upstream.completions = silent
    engine = make_engine(read_seconds=0.1)
    await engine.start()
    error = await fail(engine, make_request(stream=True))
    assert isinstance(error, EngineFailedError)
    assert "sent nothing for 0.1 s within a stream" in error.message


async def test_a_refused_key_is_the_operators_problem_and_its_text_stays_here(
    upstream: Any, make_engine: Make, make_request: MakeRequest, eventually: Eventually
) -> None:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "bad key sk-se***et"}}, status=401)

    engine = make_engine(api_key="sk-secret")
    await engine.start()
    upstream.completions = upstream.models = refuse
    error = await fail(engine, make_request())
    assert isinstance(error, EngineFailedError)
    assert error.code == "engine_api_key_refused"
    assert error.upstream_body == b""
    assert "sk-se" not in error.message


@pytest.mark.parametrize("silence", ["stream", "document", "head", "connection"])
async def test_an_engine_that_is_stopped_leaves_no_request_waiting_for_its_server(
    upstream: Any, make_engine: Make, make_request: MakeRequest, silence: str
) -> None:
    """Whatever it is that they wait for."""
    reached = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        match silence:
            case "stream":
                await (await open_stream(request)).write(CHUNK)
            case "document":
                response = web.StreamResponse(headers={"Content-Type": "application/json"})
                await response.prepare(request)
                await response.write(b'{"choices": [')
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    upstream.completions = silent
    engine = make_engine(max_concurrency=1)
    await engine.start()
    asked = 1 + SPARE_CONNECTIONS + 1 if silence == "connection" else 1  # the last one waits for a connection
    failing = [asyncio.create_task(fail(engine, make_request(stream=silence == "stream"))) for _ in range(asked)]
    await reached.wait()
    await engine.stop()
    for error in await asyncio.wait_for(asyncio.gather(*failing), 5):
        assert isinstance(error, EngineFailedError)
        assert error.retryable


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_stream_is_given_up_when_neither_it_nor_the_servers_health_brings_a_byte(
    upstream: Any, make_engine: Make, make_request: MakeRequest, at_once: bool
) -> None:
    """So a stopped process looks: its connections stay open."""
    stopped = asyncio.Event()

    async def stop(request: web.Request) -> web.StreamResponse:
        response = await open_stream(request)
        await response.write(CHUNK)
        stopped.set()
        for _ in range(0 if at_once else 20):
            await asyncio.sleep(0.01)
            await response.write(CHUNK)
        await upstream.disconnected.wait()
        raise AssertionError

    async def unanswered(_request: web.Request) -> web.StreamResponse:
        if stopped.is_set():
            await asyncio.Event().wait()
        return web.Response()

    upstream.completions = stop
    upstream.health = unanswered
    engine = make_engine(health_seconds=0.05)
    await engine.start()
    error = await asyncio.wait_for(fail(engine, make_request(stream=True)), 10)
    assert isinstance(error, EngineFailedError)
    assert error.retryable
    assert "3 checks of its health were not answered" in error.message
    assert engine.phase is EnginePhase.UNHEALTHY


async def test_a_stream_that_flows_outlives_checks_that_are_not_answered(
    upstream: Any, make_engine: Make, make_request: MakeRequest, eventually: Eventually
) -> None:
    busy = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = await open_stream(request)
        busy.set()
        while engine.phase is not EnginePhase.UNHEALTHY:
            await response.write(CHUNK)
            await asyncio.sleep(0.005)
        await response.write(DONE)
        return response

    async def unanswered(_request: web.Request) -> web.StreamResponse:
        if busy.is_set():
            await asyncio.Event().wait()
        return web.Response()

    upstream.completions = stream
    upstream.health = unanswered
    engine = make_engine(health_seconds=0.1)
    await engine.start()
    async with run_here(engine, make_request(stream=True)) as reply:
        assert (await asyncio.wait_for(reply.read(), 10)).endswith(DONE)


async def test_a_stream_that_is_silent_too_long_fails_though_its_server_is_well(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    async def stall(request: web.Request) -> web.StreamResponse:
        await (await open_stream(request)).write(CHUNK)
        await asyncio.Event().wait()
        raise AssertionError

    upstream.completions = stall
    engine = make_engine(silence_seconds=0.2)
    await engine.start()
    error = await asyncio.wait_for(fail(engine, make_request(stream=True)), 10)
    assert isinstance(error, EngineFailedError)
    assert error.retryable
    assert "sent nothing for 0.2 s within a stream" in error.message


async def test_silence_before_an_answer_begins_is_not_that_within_a_stream(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    async def late(request: web.Request) -> web.StreamResponse:
        response = await open_stream(request)
        await asyncio.sleep(0.3)
        await response.write(CHUNK + DONE)
        return response

    upstream.completions = late
    engine = make_engine(silence_seconds=0.1)
    await engine.start()
    async with run_here(engine, make_request(stream=True)) as reply:
        assert await reply.read() == CHUNK + DONE
