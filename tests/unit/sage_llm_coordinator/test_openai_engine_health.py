"""What the engine ``openai`` finds out about its server, without ever asking it for work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from sage_common.errors import (
    EngineFailedError,
    SageError,
)
from sage_control_plane.request.engine_state import EngineLoad, EnginePhase
from sage_control_plane.request.request import RequestKind
from sage_llm_coordinator.engines.openai_engine import OpenAiEngine
from sage_mesh.engine import EngineRequest
from sage_mesh.executor.direct_call import run_here

DONE = b"data: [DONE]\n\n"

Make = Callable[..., OpenAiEngine]
MakeRequest = Callable[..., EngineRequest]
Eventually = Callable[..., Awaitable[None]]


async def fail(engine: OpenAiEngine, engine_request: EngineRequest) -> SageError:
    async with run_here(engine, engine_request) as reply:
        with pytest.raises(SageError) as caught:
            await reply.read()
    return caught.value


async def test_models_and_context_come_from_the_server(make_engine: Make) -> None:
    engine = make_engine(aliases=("best",))
    assert engine.phase is EnginePhase.STARTING
    await engine.start()
    assert engine.phase is EnginePhase.READY
    big, small = engine.spec.models
    assert (big.name, big.aliases, big.max_context_tokens, big.owned_by) == ("big", ("best",), 4096, "acme")
    assert big.kinds == {RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE}
    assert (small.name, small.aliases, small.max_context_tokens) == ("small", (), 0)


async def test_only_the_model_that_was_asked_for_is_served(make_engine: Make) -> None:
    engine = make_engine(only_model="small")
    assert [card.name for card in engine.spec.models] == ["small"]
    await engine.start()
    assert [card.name for card in engine.spec.models] == ["small"]


async def test_a_model_that_the_server_does_not_have_is_said_to_be_missing(
    make_engine: Make, eventually: Eventually
) -> None:
    engine = make_engine(only_model="huge")
    starting = asyncio.create_task(engine.start())
    await eventually(lambda: engine.phase is EnginePhase.UNHEALTHY)
    assert "has no model 'huge'" in engine.reason
    starting.cancel()


async def test_a_dead_server_is_unhealthy_at_once_and_ready_again_when_it_is_back(
    upstream: Any, make_engine: Make, make_request: MakeRequest, eventually: Eventually
) -> None:
    engine = make_engine()
    await engine.start()
    await upstream.stop()
    error = await fail(engine, make_request())
    assert isinstance(error, EngineFailedError)
    assert error.retryable
    await eventually(lambda: engine.phase is EnginePhase.UNHEALTHY)
    assert str(upstream.port) in engine.reason
    await upstream.start()
    await eventually(lambda: engine.phase is EnginePhase.READY)
    assert engine.reason == ""


async def test_a_server_that_starts_late_is_found(upstream: Any, make_engine: Make, eventually: Eventually) -> None:
    await upstream.stop()
    engine = make_engine()
    starting = asyncio.create_task(engine.start())
    await eventually(lambda: "failed" in engine.reason)
    assert engine.phase is EnginePhase.STARTING
    await upstream.start()
    await asyncio.wait_for(starting, 5)
    assert engine.phase is EnginePhase.READY


async def test_one_slow_health_check_is_forgiven_and_three_are_not(
    upstream: Any, make_engine: Make, eventually: Eventually
) -> None:
    stalled = 0
    stall = asyncio.Event()

    async def slow(_request: web.Request) -> web.StreamResponse:
        nonlocal stalled
        if stall.is_set():
            stalled += 1
            await asyncio.Event().wait()
        return web.Response()

    upstream.health = slow
    engine = make_engine(health_seconds=0.05)
    await engine.start()
    stall.set()
    await eventually(lambda: stalled == 2)
    assert engine.phase is EnginePhase.READY
    await eventually(lambda: engine.phase is EnginePhase.UNHEALTHY)
    assert "was not answered within 0.05 s" in engine.reason


async def test_a_server_without_a_health_path_is_asked_for_its_models(
    upstream: Any, make_engine: Make, eventually: Eventually
) -> None:
    asked = 0

    async def missing(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    async def models(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        listed: web.StreamResponse = await upstream.list_models(request)
        return listed

    upstream.health, upstream.models = missing, models
    engine = make_engine()
    await engine.start()
    await eventually(lambda: asked >= 4)
    assert engine.phase is EnginePhase.READY
    assert upstream.bodies == []


async def test_a_server_without_lists_is_taken_at_the_operators_word(upstream: Any, make_engine: Make) -> None:
    async def missing(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    upstream.health = upstream.models = missing
    engine = make_engine(only_model="big")
    await asyncio.wait_for(engine.start(), 5)
    assert engine.phase is EnginePhase.READY


async def test_a_stopped_engine_says_so(make_engine: Make) -> None:
    engine = make_engine()
    await engine.start()
    await engine.stop()
    assert engine.phase is EnginePhase.STOPPED


async def test_the_servers_load_and_the_size_of_its_cache_are_known(
    upstream: Any, make_engine: Make, eventually: Eventually
) -> None:
    upstream.page = (
        'vllm:num_requests_running{engine="0"} 3.0\nvllm:num_requests_waiting{engine="0"} 1.0\n'
        'vllm:cache_config_info{block_size="16",num_gpu_blocks="100"} 1.0\n'
    )
    engine = make_engine()
    await engine.start()
    await eventually(lambda: engine.load is not None)
    assert engine.load == EngineLoad(running=3, waiting=1)
    assert engine.spec.max_outstanding_tokens == 1600


async def test_a_server_without_metrics_is_ready_and_its_load_unknown(make_engine: Make) -> None:
    engine = make_engine()
    await engine.start()
    assert engine.phase is EnginePhase.READY
    assert engine.load is None
    assert engine.spec.max_outstanding_tokens == 0
