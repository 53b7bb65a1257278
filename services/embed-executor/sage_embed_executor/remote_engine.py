"""Engine ``openai-embedding``: a server with OpenAI's ``/v1/embeddings`` (text-embeddings-inference, vLLM pooling …).

Bytes in, bytes out: what the server answers is what the client gets. A server that also serves ``/v1/rerank`` is used
for that too, where the settings say so.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import aiohttp
import orjson

from sage_client.embedding_body import read_embedding_body
from sage_common.errors import EngineFailedError, InvalidRequestError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.catalog import KIND_OF_ENDPOINT
from sage_control_plane.engines import EnginePhase, EngineSpec
from sage_control_plane.requests import Endpoint, RequestKind
from sage_mesh.engine_host import EngineJob, ReplyWriter
from sage_mesh.reply import Media, TokenUsage
from sage_mesh.sse import read_usage
from sage_mesh.upstream.health_record import HealthRecord
from sage_mesh.upstream.model_field import with_model
from sage_mesh.upstream.upstream import NotServingError, Upstream
from sage_mesh.upstream.upstream_errors import MAX_ERROR_BYTES, upstream_error

log = get_logger(__name__)

BURST_SECONDS: Final = 0.05
REMOTE_KINDS: Final = {"embedding": RequestKind.EMBEDDING, "rerank": RequestKind.RERANK}


class RemoteEngine:
    """Passes requests on to a server and keeps an eye on it.

    Args:
        spec: with one model, named as the server names it.
        check_seconds: between health checks.
    """

    def __init__(self, spec: EngineSpec, upstream: Upstream, *, check_seconds: float = 2.0) -> None:
        self._spec = spec
        self._upstream = upstream
        self._check_seconds = check_seconds
        self._health = HealthRecord()
        self._ready = asyncio.Event()
        self._look_now = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    @property
    def phase(self) -> EnginePhase:
        if self._stopped:
            return EnginePhase.STOPPED
        if self._health.healthy:
            return EnginePhase.READY
        return EnginePhase.UNHEALTHY if self._ready.is_set() else EnginePhase.STARTING

    @property
    def reason(self) -> str:
        if self._health.healthy is None:
            return f"waiting for the first answer of {self._upstream.root}"
        return self._health.reason

    async def start(self) -> None:
        """Watch the server from now on; return when it has answered for the first time."""
        self._upstream.open()
        self._watching = asyncio.create_task(self._watch(), name=f"watch-{self._spec.engine_id}")
        await self._ready.wait()

    async def stop(self) -> None:
        self._stopped = True
        if self._watching is not None:
            await end_tasks(self._watching)
        await self._upstream.close()

    async def run(self, job: EngineJob, reply: ReplyWriter) -> None:
        """Pass one request on.

        Raises:
            SageError: see ``upstream_errors``; EngineFailedError for a server that cannot be reached or does not
                answer with JSON.
        """
        if KIND_OF_ENDPOINT[job.endpoint] not in self._spec.models[0].kinds:
            raise InvalidRequestError(f"engine {self._spec.engine_id!r} does not serve {job.endpoint.path}")
        data = await self._post(job.endpoint, with_model(job.body, job.model))
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise self._broken(f"answered with something that is not JSON: {data[:80]!r}") from None
        reply.head(Media.JSON, model=job.model)
        reply.usage((read_usage(value.get("usage")) if isinstance(value, dict) else None) or TokenUsage())
        reply.data(data)

    async def _post(self, endpoint: Endpoint, body: bytes) -> bytes:
        try:
            async with self._upstream.post(endpoint.path, body, {}) as response:
                if response.status == 200:
                    return await response.read()
                said = await response.content.read(MAX_ERROR_BYTES)
                retry_after = response.headers.get("Retry-After")
                error = upstream_error(self._spec.engine_id, response.status, said, retry_after)
        except asyncio.TimeoutError:
            raise self._broken("did not answer in time") from None
        except (aiohttp.ClientError, OSError) as failure:
            raise self._broken(f"broke off: {failure or type(failure).__name__}") from None
        if isinstance(error, EngineFailedError):
            self._look_now.set()
        raise error

    def _broken(self, what: str) -> EngineFailedError:
        self._look_now.set()
        return self._failed(what)

    def _failed(self, what: str) -> EngineFailedError:
        return EngineFailedError(f"engine {self._spec.engine_id!r} at {self._upstream.root} {what}", retryable=True)

    # What follows watches the server.

    async def _watch(self) -> None:
        while True:
            try:
                await self._upstream.check()
                if not self._ready.is_set():
                    await self._learn_dimensions()
            except NotServingError as problem:
                self._note(problem)
            except EngineFailedError as problem:
                self._health.failed(problem.message)
            except Exception:
                log.exception("health check failed", engine=self._spec.engine_id)
            else:
                if self._health.passed():
                    log.info("engine answers", engine=self._spec.engine_id, model=self._spec.models[0].name)
                self._ready.set()
            await self._pause()

    async def _learn_dimensions(self) -> None:
        """Ask for one vector: it shows that the server serves the model, and how long its vectors are."""
        card = self._spec.models[0]
        if RequestKind.EMBEDDING not in card.kinds:
            return
        body = orjson.dumps({"model": card.name, "input": ["hello"]})
        try:
            async with self._upstream.post(Endpoint.EMBEDDINGS.path, body, {}) as response:
                data = await response.read()
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as failure:
            raise self._failed(f"broke off: {failure or type(failure).__name__}") from None
        if response.status != 200:
            raise NotServingError(
                f"{self._upstream.root}{Endpoint.EMBEDDINGS.path} answered {response.status} for model {card.name!r}: "
                f"{data[:200].decode('utf-8', 'replace')}",
                status=response.status,
            )
        vectors, _model, _usage = read_embedding_body(data)
        self._spec = replace(self._spec, models=(replace(card, dimensions=vectors.shape[1]),))

    def _note(self, problem: NotServingError) -> None:
        was_healthy = self._health.healthy
        if problem.timed_out:
            self._health.timed_out(problem.message)
        else:
            self._health.failed(problem.message)
        if was_healthy and not self._health.healthy:
            log.warning("engine is unhealthy", engine=self._spec.engine_id, reason=problem.message)

    async def _pause(self) -> None:
        """Wait for the next look; a failed request brings it forward."""
        # Failures come in bursts; one look answers for all of them.
        await asyncio.sleep(min(BURST_SECONDS, self._check_seconds))
        timer = asyncio.get_running_loop().call_later(self._check_seconds, self._look_now.set)
        try:
            await self._look_now.wait()
        finally:
            timer.cancel()
        self._look_now.clear()
