"""Passing requests through to a server: bytes in, bytes out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson

from sage_common.errors import EngineFailedError, SageError
from sage_common.logging import get_logger
from sage_control_plane.request.engine_state import ModelCard
from sage_llm_coordinator.engines.exchange import Exchange, plan_exchange
from sage_llm_coordinator.engines.known_servers import TOKEN_SERVERS
from sage_llm_coordinator.engines.streamed_answer import StreamedAnswer
from sage_llm_coordinator.engines.token_prompt import read_prompt_ids, token_prompt
from sage_mesh.engine import DeliveredTokens, EngineRequest, ReplyWriter
from sage_mesh.reply import Media, TokenUsage
from sage_mesh.sse import read_usage
from sage_mesh.upstream.upstream import Upstream
from sage_mesh.upstream.upstream_errors import MAX_ERROR_BYTES, split_at_error, upstream_error

log = get_logger(__name__)


class UpstreamProxy:
    """The way of requests to one server and of its answers back.

    Args:
        engine_id: for messages to people.
        trouble: called when a request has failed in a way that says something about the server.
    """

    def __init__(self, engine_id: str, upstream: Upstream, trouble: Callable[[], None]) -> None:
        self._engine_id = engine_id
        self._upstream = upstream
        self._trouble = trouble
        self._fingerprint: bytes | None = None

    async def run(self, job: EngineRequest, reply: ReplyWriter, card: ModelCard | None, *, continuable: bool) -> None:
        """Pass one request through.

        Args:
            card: the model as the server lists it; None where it does not.
            continuable: whether an engine of this kind goes on with an answer that this one begins.

        Raises:
            SageError: see ``upstream_errors``; EngineFailedError for a server that cannot be reached, falls silent,
                answers with something else than the API's media, or breaks off.
        """
        owner = card.owned_by if card else ""
        exchange = plan_exchange(job, owner)
        headers = _headers(job)
        try:
            if job.delivered is not None and owner in TOKEN_SERVERS:
                context_tokens = card.max_context_tokens if card else 0
                exchange = await self._from_tokens(exchange, job, job.delivered, headers, context_tokens)
            # Leaving this block early, by cancellation too, closes the connection; that is how a server learns that
            # it can stop generating.
            async with self._upstream.post(exchange.path, exchange.body, headers) as response:
                await self._pass_on(response, reply, job, exchange, continuable=continuable)
        except asyncio.TimeoutError:
            raise self._broken("did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken(f"broke off: {error or type(error).__name__}") from None

    async def _from_tokens(
        self,
        exchange: Exchange,
        job: EngineRequest,
        told: DeliveredTokens,
        headers: dict[str, str],
        context_tokens: int,
    ) -> Exchange:
        """The exchange that goes on from the tokens told; the one from text where the server cannot cut the prompt."""
        plan = token_prompt(job.endpoint, exchange.body, told)
        if plan is None:
            return exchange
        async with self._upstream.post("/tokenize", plan.tokenize, headers) as response:
            answer = await response.read()
        prompt_ids = read_prompt_ids(answer) if response.status == 200 else None
        if prompt_ids is None:
            # No part of the answer: it may quote the prompt.
            log.info("goes on from text", engine=self._engine_id, tokenize_status=response.status)
            return exchange
        return exchange.from_tokens(plan.body(prompt_ids, context_tokens), job.endpoint)

    async def _pass_on(
        self,
        response: aiohttp.ClientResponse,
        reply: ReplyWriter,
        job: EngineRequest,
        exchange: Exchange,
        *,
        continuable: bool,
    ) -> None:
        if response.status != 200:
            raise await self._refused(response)
        if response.content_type == "text/event-stream":

            def begin() -> None:
                reply.head(Media.EVENT_STREAM, model=job.model, continuable=continuable, tells_tokens=exchange.tokens)

            await self._pass_stream(response, reply, exchange, begin)
            return
        data = await response.read()
        try:
            value = _read_json(data)
        except ValueError:
            raise self._broken(f"answered with {response.content_type!r} that is not JSON: {data[:80]!r}") from None
        reply.head(Media.JSON, model=job.model)
        reply.usage((read_usage(value.get("usage")) if isinstance(value, dict) else None) or TokenUsage())
        reply.data(exchange.names.in_answer(data))

    async def _pass_stream(
        self, response: aiohttp.ClientResponse, reply: ReplyWriter, exchange: Exchange, begin: Callable[[], None]
    ) -> None:
        answer = StreamedAnswer(exchange, self._fingerprint)
        begun = False
        try:
            async for piece in response.content.iter_any():
                events = answer.take(piece)
                if not events:
                    continue
                healthy, error = split_at_error(events, self._engine_id)
                if healthy and not begun:
                    begun = True
                    begin()
                if healthy:
                    reply.tokens(answer.ids())
                    reply.data(healthy)
                if error is not None:
                    self._trouble()
                    raise error
        finally:
            # What was told and used counts however the stream ends.
            if begun and (held := answer.held()):
                reply.tokens(answer.ids())
                reply.data(held)
            reply.usage(answer.usage())
            self._fingerprint = answer.fingerprint
        if begun and (rest := answer.rest()):
            reply.data(rest)
        if not answer.done:
            raise self._broken("ended its stream without [DONE]")

    async def _refused(self, response: aiohttp.ClientResponse) -> SageError:
        body = await response.content.read(MAX_ERROR_BYTES)
        error = upstream_error(self._engine_id, response.status, body, response.headers.get("Retry-After"))
        if isinstance(error, EngineFailedError):
            self._trouble()
        return error

    def _broken(self, what: str) -> EngineFailedError:
        self._trouble()
        return EngineFailedError(f"engine {self._engine_id!r} at {self._upstream.root} {what}", retryable=True)


def _headers(job: EngineRequest) -> dict[str, str]:
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
