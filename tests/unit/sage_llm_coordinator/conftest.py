"""A real HTTP upstream whose behaviour each test writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import orjson
import pytest
from aiohttp import web

from sage_common.clock import MonotonicClock
from sage_control_plane.request.engine_state import EngineSpec
from sage_control_plane.request.request import Endpoint
from sage_llm_coordinator.engines.load_watch import LoadWatch
from sage_llm_coordinator.engines.openai_engine import OpenAiEngine
from sage_mesh.engine import EngineRequest
from sage_mesh.upstream.upstream import Upstream, UpstreamTimeouts

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ScriptedUpstream:
    """An HTTP server on a free port. Tests set its handlers and look at what arrived."""

    def __init__(self) -> None:
        self.completions: Handler = self.answer
        self.models: Handler = self.list_models
        self.health: Handler = self.healthy
        self.page = ""
        self.bodies: list[bytes] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.health_checks = 0
        self.arrived = asyncio.Event()
        self.disconnected = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/{path:.*}", self._post)
        app.router.add_post("/tokenize", self._post)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ping", self._health)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _post(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        self.headers.append(request.headers)
        self.paths.append(request.path)
        self.arrived.set()
        try:
            return await self.completions(request)
        except (asyncio.CancelledError, ConnectionResetError):
            self.disconnected.set()
            raise

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return await self.models(request)

    async def _health(self, request: web.Request) -> web.StreamResponse:
        self.health_checks += 1
        return await self.health(request)

    async def _metrics(self, _request: web.Request) -> web.StreamResponse:
        if not self.page:
            raise web.HTTPNotFound
        return web.Response(text=self.page)

    async def answer(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {
                "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 1},
            }
        )

    async def list_models(self, _request: web.Request) -> web.StreamResponse:
        models = [{"id": "big", "owned_by": "acme", "max_model_len": 4096}, {"id": "small"}]
        return web.json_response({"object": "list", "data": models})

    async def healthy(self, _request: web.Request) -> web.StreamResponse:
        return web.Response()


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    server = ScriptedUpstream()
    await server.start()
    yield server
    await server.stop()


MakeEngine = Callable[..., OpenAiEngine]


@pytest.fixture
async def make_engine(upstream: ScriptedUpstream) -> AsyncIterator[MakeEngine]:
    """Makes engines for the upstream, with short times, and stops them."""
    made: list[OpenAiEngine] = []

    def make(
        *,
        api_key: str = "",
        read_seconds: float = 30.0,
        health_seconds: float = 5.0,
        max_concurrency: int = 8,
        **options: object,
    ) -> OpenAiEngine:
        client = Upstream(
            upstream.url,
            api_key=api_key,
            max_concurrency=max_concurrency,
            timeouts=UpstreamTimeouts(connect=2.0, read=read_seconds, health=health_seconds),
        )
        watch = LoadWatch(client, MonotonicClock(), 0.02)
        spec = EngineSpec("up-0", "openai", (), max_concurrency=max_concurrency, url=upstream.url)
        engine = OpenAiEngine(spec, client, check_seconds=0.02, load_watch=watch, **options)  # type: ignore[arg-type]
        made.append(engine)
        return engine

    yield make
    for engine in made:
        await engine.stop()


def request_for_big(
    model: str = "big", endpoint: Endpoint = Endpoint.CHAT_COMPLETIONS, **fields: object
) -> EngineRequest:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    return EngineRequest("r-1", endpoint, orjson.dumps(body), "big")


@pytest.fixture
def make_request() -> Callable[..., EngineRequest]:
    """Makes requests for model ``big``; fields go into the body."""
    return request_for_big


async def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something that happens without telling; fails with TimeoutError."""

    async def poll() -> None:
        while not condition():  # noqa: ASYNC110 - the thing waited for has no event
            await asyncio.sleep(0.005)

    await asyncio.wait_for(poll(), seconds)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Awaitable[None]]:
    return eventually
