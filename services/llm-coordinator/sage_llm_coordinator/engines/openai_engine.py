"""Engine ``openai``: any OpenAI-compatible server. Bytes in, bytes out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import aiohttp
import orjson

from sage_common.errors import EngineFailedError, InvalidRequestError, SageError, UnavailableError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.engines import EnginePhase, EngineSpec, ModelCard
from sage_control_plane.requests import Endpoint, RequestKind
from sage_llm_coordinator.engines.usage_scan import StreamTail
from sage_mesh.engine_host import EngineJob, ReplyWriter
from sage_mesh.reply import Media, TokenUsage
from sage_mesh.sse import read_usage
from sage_mesh.upstream.health_record import HealthRecord
from sage_mesh.upstream.model_field import with_model
from sage_mesh.upstream.upstream import LLM_KINDS, NotServingError, Upstream
from sage_mesh.upstream.upstream_errors import MAX_ERROR_BYTES, split_at_error, upstream_error
from sage_mesh.whole_events import WholeEvents

log = get_logger(__name__)

# The list of models is read again after so many health checks: adapters come and go.
CHECKS_BETWEEN_DISCOVERIES = 15
BURST_SECONDS = 0.05
# Servers that take up an assistant's unfinished message (``continue_final_message``), by what they call themselves in
# /v1/models. Others may refuse it, or answer anew.
CONTINUING_SERVERS = frozenset({"vllm", "sglang", "sage-simulated"})
_CONTINUATION = b'"continue_final_message":true'
# What is passed on, if one of the server's models is for it.
PASSED_ON: Final[dict[Endpoint, RequestKind]] = {
    Endpoint.CHAT_COMPLETIONS: RequestKind.LLM_CHAT,
    Endpoint.COMPLETIONS: RequestKind.LLM_GENERATE,
    Endpoint.EMBEDDINGS: RequestKind.EMBEDDING,
}


class OpenAiEngine:
    """Passes requests through to a server and keeps an eye on it.

    Args:
        spec: what is known beforehand; models found at the server replace the spec's, unless ``only_model`` is set.
        upstream: the server.
        only_model: serve this one of the server's models; it counts as served before the server has answered.
        aliases: further names for the first model.
        check_seconds: between health checks.
        kinds: what its models are for, asked when they are discovered; empty goes by the server's list.
        continues_chats: whether the server takes up an assistant's unfinished message; None goes by its models' owner.
    """

    def __init__(
        self,
        spec: EngineSpec,
        upstream: Upstream,
        *,
        only_model: str = "",
        aliases: tuple[str, ...] = (),
        check_seconds: float = 2.0,
        continues_chats: bool | None = None,
        kinds: Callable[[], frozenset[RequestKind]] = frozenset,
    ) -> None:
        self._upstream = upstream
        self._only_model = only_model
        self._aliases = aliases
        self._check_seconds = check_seconds
        self._continues_chats = continues_chats
        self._kinds = kinds
        self._health = HealthRecord()
        self._ready = asyncio.Event()
        self._look_now = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._stopped = False
        self._answered = False
        given = ModelCard(name=only_model, kinds=kinds() or LLM_KINDS, aliases=aliases)
        self._spec = replace(spec, models=(given,)) if only_model else spec

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    @property
    def phase(self) -> EnginePhase:
        if self._stopped:
            return EnginePhase.STOPPED
        if self._health.healthy:
            return EnginePhase.READY
        # A server that does not answer yet may still be loading; one that answers wrongly will not mend by itself.
        return EnginePhase.UNHEALTHY if self._ready.is_set() or self._answered else EnginePhase.STARTING

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
        """Pass one request through.

        Raises:
            SageError: see ``upstream_errors``; EngineFailedError for a server that cannot be reached, falls silent,
                answers with something else than the API's media, or breaks off.
        """
        if not self._serves(job.endpoint):
            raise InvalidRequestError(f"engine {self._spec.engine_id!r} does not serve {job.endpoint.path}")
        continued = job.attempt.submission > 1 and _CONTINUATION in job.body
        if continued and not self._continues(job):
            raise UnavailableError(
                f"engine {self._spec.engine_id!r} may not continue an answer that another engine began; if its server "
                "knows continue_final_message, set the engine's continues_chats",
                code="engine_cannot_continue",
                retryable=True,
            )
        body = with_model(job.body, job.model)
        headers = _headers(job)
        try:
            # Leaving this block early, by cancellation too, closes the connection; that is how a server learns that
            # it can stop generating.
            async with self._upstream.post(job.endpoint.path, body, headers) as response:
                await self._pass_on(response, reply, job)
        except asyncio.TimeoutError:
            raise self._broken("did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken(f"broke off: {error or type(error).__name__}") from None

    def _serves(self, endpoint: Endpoint) -> bool:
        kind = PASSED_ON.get(endpoint)
        return kind is not None and any(kind in card.kinds for card in self._spec.models)

    async def _pass_on(self, response: aiohttp.ClientResponse, reply: ReplyWriter, job: EngineJob) -> None:
        if response.status != 200:
            raise await self._refused(response)
        if response.content_type == "text/event-stream":
            await self._pass_stream(response, reply, job)
            return
        data = await response.read()
        try:
            value = _read_json(data)
        except ValueError:
            raise self._broken(f"answered with {response.content_type!r} that is not JSON: {data[:80]!r}") from None
        reply.head(Media.JSON, model=job.model)
        reply.usage((read_usage(value.get("usage")) if isinstance(value, dict) else None) or TokenUsage())
        reply.data(data)

    async def _pass_stream(self, response: aiohttp.ClientResponse, reply: ReplyWriter, job: EngineJob) -> None:
        tail = StreamTail()
        whole = WholeEvents()
        begun = False
        async for piece in response.content.iter_any():
            tail.take(piece)
            events = whole.feed(piece)
            if not events:
                continue
            healthy, error = split_at_error(events, self._spec.engine_id)
            if healthy and not begun:
                begun = True
                reply.head(Media.EVENT_STREAM, model=job.model, continuable=self._continues(job))
            if healthy:
                reply.data(healthy)
            if error is not None:
                self._look_now.set()
                raise error
        if (rest := whole.rest()) and begun:
            reply.data(rest)
        reply.usage(tail.usage())
        if not tail.done:
            raise self._broken("ended its stream without [DONE]")

    def _continues(self, job: EngineJob) -> bool:
        """Whether the server goes on with an answer whose start is given; to a completion's prompt any does."""
        if job.endpoint is Endpoint.COMPLETIONS:
            return True
        if self._continues_chats is not None:
            return self._continues_chats
        return any(card.name == job.model and card.owned_by in CONTINUING_SERVERS for card in self._spec.models)

    async def _refused(self, response: aiohttp.ClientResponse) -> SageError:
        body = await response.content.read(MAX_ERROR_BYTES)
        error = upstream_error(self._spec.engine_id, response.status, body, response.headers.get("Retry-After"))
        if isinstance(error, EngineFailedError):
            self._look_now.set()
        return error

    def _broken(self, what: str) -> EngineFailedError:
        self._look_now.set()
        return EngineFailedError(f"engine {self._spec.engine_id!r} at {self._upstream.root} {what}", retryable=True)

    # What follows watches the server.

    async def _watch(self) -> None:
        checks = 0
        while True:
            try:
                await self._look(discover=checks % CHECKS_BETWEEN_DISCOVERIES == 0)
            except NotServingError as problem:
                self._note(problem)
                checks = 0
            except Exception:
                log.exception("health check failed", engine=self._spec.engine_id)
            else:
                checks += 1
            await self._pause()

    async def _look(self, *, discover: bool) -> None:
        await self._upstream.check()
        if discover:
            await self._discover()
        if self._health.passed():
            log.info("engine answers", engine=self._spec.engine_id, models=[c.name for c in self._spec.models])
        self._ready.set()

    async def _discover(self) -> None:
        try:
            found = await self._upstream.models()
        except NotServingError as problem:
            if self._only_model and problem.no_such_path:
                return  # without a list, the model is taken at the operator's word
            raise
        if self._only_model:
            found = tuple(card for card in found if card.name == self._only_model)
        if not found:
            what = f"has no model {self._only_model!r}" if self._only_model else "lists no model"
            raise NotServingError(f"{self._upstream.root} {what}", status=200)
        found = (replace(found[0], aliases=self._aliases), *found[1:])
        if kinds := self._kinds():
            found = tuple(replace(card, kinds=kinds) for card in found)
        if found != self._spec.models:
            self._spec = replace(self._spec, models=found)

    def _note(self, problem: NotServingError) -> None:
        was_healthy = self._health.healthy
        self._answered = problem.status > 0
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


def _headers(job: EngineJob) -> dict[str, str]:
    """The headers that let an engine's logs and traces be matched; an id that no header can hold is left out."""
    named = {"X-Request-Id": job.request_id, "traceparent": job.traceparent}
    return {name: value for name, value in named.items() if value and value.isascii() and value.isprintable()}


def _read_json(data: bytes) -> Any:
    """Read an engine's answer. Raises ValueError.

    A model may emit half of a surrogate pair, which Python's own parser takes and orjson does not.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)
