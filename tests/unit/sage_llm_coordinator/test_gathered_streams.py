"""A stream whose consumer gets it in one piece is passed on many events at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from sage_common.errors import SageError
from sage_llm_coordinator.engines import upstream_proxy
from sage_llm_coordinator.engines.openai_engine import OpenAiEngine
from sage_mesh.engine import EngineRequest
from sage_mesh.executor.direct_call import run_here

FIRST = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
MORE = b'data: {"choices":[{"delta":{"content":"b"}}]}\n\n'
LAST = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class Server:
    """Sends a first event, further ones as it is told, and the end."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.breaks = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(FIRST)
        await self.go_on.wait()
        for _ in range(5):
            await response.write(MORE)
            await asyncio.sleep(0)
        if self.breaks:
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write(LAST)
        return response


@pytest.fixture
def server(upstream: Any) -> Server:
    server = Server()
    upstream.completions = server.answer
    return server


async def test_the_first_event_leaves_at_once_and_the_end_is_not_waited_for(
    server: Server,
    make_engine: Callable[..., OpenAiEngine],
    make_request: Callable[..., EngineRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upstream_proxy, "GATHER_SECONDS", 60.0)
    engine = make_engine()
    await engine.start()
    began = time.monotonic()
    async with run_here(engine, replace(make_request(stream=True), in_one_piece=True)) as reply:
        pieces = aiter(reply)
        assert await anext(pieces) == FIRST
        server.go_on.set()
        assert b"".join([piece async for piece in pieces]) == MORE * 5 + LAST
    assert time.monotonic() - began < 30


async def test_what_comes_between_two_moments_leaves_together(
    upstream: Any,
    make_engine: Callable[..., OpenAiEngine],
    make_request: Callable[..., EngineRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upstream_proxy, "GATHER_SECONDS", 0.05)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(200):
            await response.write(MORE)
            await asyncio.sleep(0.001)
        await response.write(LAST)
        return response

    upstream.completions = answer
    engine = make_engine()
    await engine.start()
    async with run_here(engine, replace(make_request(stream=True), in_one_piece=True)) as reply:
        pieces = [piece async for piece in reply]
    assert b"".join(pieces) == MORE * 200 + LAST
    assert len(pieces) < 100


async def test_a_connection_that_breaks_is_told_within_a_moment(
    server: Server, make_engine: Callable[..., OpenAiEngine], make_request: Callable[..., EngineRequest]
) -> None:
    server.breaks = True
    engine = make_engine()
    await engine.start()
    async with run_here(engine, replace(make_request(stream=True), in_one_piece=True)) as reply:
        pieces = aiter(reply)
        assert await anext(pieces) == FIRST
        server.go_on.set()
        with pytest.raises(SageError, match="broke off"):
            await asyncio.wait_for(reply.read(), 5)
