"""Passing requests through to a server, and its answers back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from sage_common.errors import EngineFailedError, SageError
from sage_common.logging import get_logger
from sage_control_plane.request.engine_state import ModelCard
from sage_llm_coordinator.engines.known_servers import TOKEN_SERVERS
from sage_llm_coordinator.engines.stream_rewriter import StreamRewriter
from sage_llm_coordinator.engines.token_prompt import read_prompt_ids, token_prompt
from sage_llm_coordinator.engines.upstream_request import UpstreamRequest, plan_upstream_request
from sage_mesh import exact_json
from sage_mesh.engine import DeliveredTokens, EngineRequest, ReplyWriter
from sage_mesh.openai_answer import read_usage
from sage_mesh.reply import Media, TokenUsage
from sage_mesh.upstream.upstream import Upstream
from sage_mesh.upstream.upstream_errors import MAX_ERROR_BYTES, split_at_error, upstream_error

log = get_logger(__name__)


class UpstreamProxy:
    """Sends requests to one server and passes its answers back.

    Args:
        engine_id: for messages to people.
        on_trouble: called when a request has failed in a way that says something about the server.
    """

    def __init__(self, engine_id: str, upstream: Upstream, on_trouble: Callable[[], None]) -> None:
        self._engine_id = engine_id
        self._upstream = upstream
        self._on_trouble = on_trouble

    async def run(
        self, request: EngineRequest, reply: ReplyWriter, card: ModelCard | None, *, continuable: bool
    ) -> None:
        """Pass one request through.

        Args:
            card: the model as the server lists it; None where it does not.
            continuable: whether an engine of this kind goes on with an answer that this one begins.

        Raises:
            SageError: see ``upstream_errors``; EngineFailedError for a server that cannot be reached, falls silent,
                answers with something else than the API's media, or breaks off.
        """
        owner = card.owned_by if card else ""
        asked = plan_upstream_request(request, owner)
        headers = _headers(request)
        try:
            if request.delivered is not None and owner in TOKEN_SERVERS:
                context_tokens = card.max_context_tokens if card else 0
                asked = await self._from_tokens(asked, request, request.delivered, headers, context_tokens)
            # Leaving this block early, by cancellation too, closes the connection; that is how a server learns that
            # it can stop generating.
            async with self._upstream.post(asked.path, asked.body, headers) as response:
                await self._pass_on(response, reply, request, asked, continuable=continuable)
        except asyncio.TimeoutError:
            raise self._broken("did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken(f"broke off: {error or type(error).__name__}") from None

    async def _from_tokens(
        self,
        asked: UpstreamRequest,
        request: EngineRequest,
        delivered: DeliveredTokens,
        headers: dict[str, str],
        context_tokens: int,
    ) -> UpstreamRequest:
        """Return the request that goes on from the delivered tokens; ``asked`` where the server names no tokens."""
        plan = token_prompt(request.endpoint, asked.body, delivered)
        if plan is None:
            return asked
        async with self._upstream.post("/tokenize", plan.tokenize, headers) as response:
            answer = await response.read()
        prompt_ids = read_prompt_ids(answer) if response.status == 200 else None
        if prompt_ids is None:
            # No part of the answer: it may quote the prompt.
            log.info("goes on from text", engine=self._engine_id, tokenize_status=response.status)
            return asked
        return asked.from_tokens(plan.body(prompt_ids, context_tokens), request.endpoint)

    async def _pass_on(
        self,
        response: aiohttp.ClientResponse,
        reply: ReplyWriter,
        request: EngineRequest,
        asked: UpstreamRequest,
        *,
        continuable: bool,
    ) -> None:
        if response.status != 200:
            raise await self._refused(response)
        if response.content_type == "text/event-stream":

            def begin() -> None:
                tells_tokens = asked.edits.hides_tokens
                reply.head(Media.EVENT_STREAM, model=request.model, continuable=continuable, tells_tokens=tells_tokens)

            await self._pass_stream(response, reply, StreamRewriter(asked.edits), begin)
            return
        data = await response.read()
        try:
            value = exact_json.read(data)
            usage = read_usage(value.get("usage")) if isinstance(value, dict) else None
            if asked.edits.rename(value):
                data = exact_json.write(value)
        except ValueError:
            raise self._broken(f"answered with {response.content_type!r} that is not JSON: {data[:80]!r}") from None
        reply.head(Media.JSON, model=request.model)
        reply.usage(usage or TokenUsage())
        reply.data(data)

    async def _pass_stream(
        self,
        response: aiohttp.ClientResponse,
        reply: ReplyWriter,
        rewriter: StreamRewriter,
        begin: Callable[[], None],
    ) -> None:
        begun = False
        try:
            async for piece in response.content.iter_any():
                events = rewriter.take(piece)
                if not events:
                    continue
                healthy, error = split_at_error(events, self._engine_id)
                if healthy and not begun:
                    begun = True
                    begin()
                if healthy:
                    reply.tokens(rewriter.ids())
                    reply.data(healthy)
                if error is not None:
                    self._on_trouble()
                    raise error
        finally:
            # What was used counts however the stream ends.
            reply.usage(rewriter.usage())
        if begun and (rest := rewriter.rest()):
            reply.tokens(rewriter.ids())
            reply.data(rest)
        if not rewriter.done:
            raise self._broken("ended its stream without [DONE]")

    async def _refused(self, response: aiohttp.ClientResponse) -> SageError:
        body = await response.content.read(MAX_ERROR_BYTES)
        error = upstream_error(self._engine_id, response.status, body, response.headers.get("Retry-After"))
        if isinstance(error, EngineFailedError):
            self._on_trouble()
        return error

    def _broken(self, what: str) -> EngineFailedError:
        self._on_trouble()
        return EngineFailedError(f"engine {self._engine_id!r} at {self._upstream.root} {what}", retryable=True)


def _headers(request: EngineRequest) -> dict[str, str]:
    """Return headers by which an engine's logs and traces can be matched; an id that no header can hold is left out."""
    named = {"X-Request-Id": request.request_id, "traceparent": request.traceparent}
    return {name: value for name, value in named.items() if value and value.isascii() and value.isprintable()}
