"""Engine ``openai-embedding`` against a real HTTP server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from fixtures.eventually import eventually
from fixtures.recorded_reply import RecordedReply

from sage_common.errors import ContendedError, EngineFailedError, InvalidRequestError
from sage_control_plane.request.engine_state import CapacitySource, EnginePhase, EngineSpec, ModelCard
from sage_control_plane.request.request import Endpoint, RequestKind
from sage_embed_executor.engines.openai_embedding_engine import OpenAiEmbeddingEngine
from sage_mesh.engine import EngineRequest
from sage_mesh.reply import Media, TokenUsage
from sage_mesh.upstream.capacity_probe import CapacityProbe
from sage_mesh.upstream.upstream import Upstream, UpstreamTimeouts

ANSWER = b'{"object":"list","data":[{"index":0,"embedding":[0.5, 0.25,0.125]}],"usage":{"prompt_tokens":4}}'


class Server:
    """A server of embeddings that does what the test wants next."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.answer = (200, ANSWER)
        self.healthy = True
        self.info: dict[str, Any] = {}

    async def embeddings(self, request: web.Request) -> web.Response:
        self.bodies.append(orjson.loads(await request.read()))
        status, body = self.answer
        return web.Response(status=status, body=body, content_type="application/json", headers={"Retry-After": "3"})

    async def information(self, _request: web.Request) -> web.Response:
        return web.json_response(self.info)

    async def health(self, _request: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 500)


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    server = Server()
    app = web.Application()
    app.add_routes([web.post("/v1/embeddings", server.embeddings), web.post("/v1/rerank", server.embeddings)])
    app.add_routes([web.get("/health", server.health), web.get("/info", server.information)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield server, f"http://127.0.0.1:{port}"
    await runner.cleanup()


def engine_at(url: str, *kinds: RequestKind, ceiling: int | None = None) -> OpenAiEmbeddingEngine:
    card = ModelCard("bge", frozenset(kinds or (RequestKind.EMBEDDING,)))
    upstream = Upstream(url, api_key="", max_concurrency=4, timeouts=UpstreamTimeouts())
    spec = EngineSpec("remote-test", "openai-embedding", (card,), url=url)
    capacity = CapacityProbe(upstream, ceiling=ceiling, technical_ceiling=512)
    return OpenAiEmbeddingEngine(spec, upstream, check_seconds=0.05, capacity=capacity)


@pytest.fixture
async def engine(server: tuple[Server, str]) -> AsyncIterator[OpenAiEmbeddingEngine]:
    one = engine_at(server[1], RequestKind.EMBEDDING, RequestKind.RERANK)
    await asyncio.wait_for(one.start(), 10)
    yield one
    await one.stop()


@pytest.mark.parametrize(
    ("batch", "ceiling", "expected"),
    [
        (4, None, (8, CapacitySource.TOLD)),
        (4, 2, (2, CapacitySource.CONFIGURED)),
        (None, None, (64, CapacitySource.UNKNOWN)),
        (None, 32, (32, CapacitySource.CONFIGURED)),
    ],
)
async def test_a_server_that_says_what_its_batches_hold_gets_one_and_the_next(
    server: tuple[Server, str], batch: int | None, ceiling: int | None, expected: tuple[int, CapacitySource]
) -> None:
    server[0].info = {"model_id": "bge", "max_concurrent_requests": 64, "max_batch_tokens": 16384}
    server[0].info["max_batch_requests"] = batch
    engine = engine_at(server[1], ceiling=ceiling)
    await asyncio.wait_for(engine.start(), 10)
    assert (engine.spec.max_concurrency, engine.spec.capacity_source) == expected
    assert engine.spec.max_outstanding_tokens == 32768
    await engine.stop()


async def run(engine: OpenAiEmbeddingEngine, endpoint: Endpoint = Endpoint.EMBEDDINGS) -> RecordedReply:
    answer = RecordedReply()
    await asyncio.wait_for(
        engine.run(EngineRequest("r", endpoint, b'{"model":"alias","input":"a"}', "bge"), answer), 10
    )
    return answer


async def test_the_servers_bytes_are_the_answer_and_its_usage_is_known(
    engine: OpenAiEmbeddingEngine, server: tuple[Server, str]
) -> None:
    assert (engine.phase, engine.spec.models[0].dimensions) == (EnginePhase.READY, 3)
    answer = await run(engine)
    assert (answer.media, bytes(answer.bytes_)) == (Media.JSON, ANSWER)
    assert answer.used == TokenUsage(prompt_tokens=4)
    assert server[0].bodies[-1] == {"model": "bge", "input": "a"}
    assert bytes((await run(engine, Endpoint.RERANK)).bytes_) == ANSWER


@pytest.mark.parametrize(
    ("status", "expected"), [(400, InvalidRequestError), (429, ContendedError), (500, EngineFailedError)]
)
async def test_a_refusal_is_told_in_the_meshs_terms(
    engine: OpenAiEmbeddingEngine, server: tuple[Server, str], status: int, expected: type[Exception]
) -> None:
    server[0].answer = (status, b'{"error":{"message":"said so"}}')
    with pytest.raises(expected, match="said so"):
        await run(engine)


async def test_an_answer_that_is_not_json_fails_and_asks_for_another_engine(
    engine: OpenAiEmbeddingEngine, server: tuple[Server, str]
) -> None:
    server[0].answer = (200, b"<html>")
    with pytest.raises(EngineFailedError, match="not JSON") as caught:
        await run(engine)
    assert caught.value.retryable


async def test_an_engine_is_unhealthy_while_its_server_is(
    engine: OpenAiEmbeddingEngine, server: tuple[Server, str]
) -> None:
    server[0].healthy = False
    await eventually(lambda: engine.phase is EnginePhase.UNHEALTHY)
    assert "answered 500" in engine.reason
    server[0].healthy = True
    await eventually(lambda: engine.phase is EnginePhase.READY)


async def test_a_server_without_the_model_leaves_the_engine_starting_and_says_why(server: tuple[Server, str]) -> None:
    server[0].answer = (404, b'{"error":{"message":"no such model"}}')
    engine = engine_at(server[1])
    starting = asyncio.create_task(engine.start())
    await eventually(lambda: "no such model" in engine.reason)
    assert engine.phase is EnginePhase.STARTING
    server[0].answer = (200, ANSWER)
    await asyncio.wait_for(starting, 10)
    with pytest.raises(InvalidRequestError, match="does not serve /v1/rerank"):
        await run(engine, Endpoint.RERANK)
    await engine.stop()


async def test_a_server_that_breaks_off_while_it_is_got_to_know_is_asked_no_more_often_than_a_healthy_one(
    server: tuple[Server, str],
) -> None:
    asked_at: list[float] = []

    async def break_off(request: web.Request) -> web.Response:
        asked_at.append(asyncio.get_running_loop().time())
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/v1/embeddings", break_off), web.get("/health", server[0].health)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    engine = engine_at(f"http://127.0.0.1:{port}")
    starting = asyncio.create_task(engine.start())
    await eventually(lambda: len(asked_at) >= 4)
    starting.cancel()
    await engine.stop()
    await runner.cleanup()
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked_at)]
    # The pause for a burst and the interval between checks, each of 0.05 s; timers may ring a little early.
    assert min(gaps) > 0.08
    assert "broke off" in engine.reason
