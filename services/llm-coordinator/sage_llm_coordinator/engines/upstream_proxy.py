"""Passing requests through to a server, and its answers back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from sage_common.errors import NotFoundError
from sage_common.logging import get_logger
from sage_control_plane.request.engine_state import ModelCard
from sage_llm_coordinator.engines.answer_form import events_of, is_answer
from sage_llm_coordinator.engines.answer_reader import AnswerReader
from sage_llm_coordinator.engines.known_servers import TOKEN_SERVERS
from sage_llm_coordinator.engines.open_streams import MISSED_CHECKS, OpenStream, OpenStreams
from sage_llm_coordinator.engines.stream_progress import StreamProgress, choices_asked
from sage_llm_coordinator.engines.stream_reader import StreamReader
from sage_llm_coordinator.engines.stream_rewriter import AnswerEdits
from sage_llm_coordinator.engines.token_prompt import read_prompt_ids, token_prompt
from sage_llm_coordinator.engines.upstream_failures import UpstreamFailures
from sage_llm_coordinator.engines.upstream_request import (
    FollowsPrompts,
    UpstreamRequest,
    plan_upstream_request,
    upstream_headers,
    wants_stream,
    wants_usage,
)
from sage_mesh import exact_json
from sage_mesh.answer_folder import AnswerFolder
from sage_mesh.engine import DeliveredTokens, EngineRequest, ReplyWriter
from sage_mesh.openai_answer import read_usage
from sage_mesh.reply import Media, TokenUsage
from sage_mesh.sse import DONE_EVENT
from sage_mesh.upstream.http.answer import HttpAnswer
from sage_mesh.upstream.http.http_error import HttpError, describe_failure
from sage_mesh.upstream.large_document import TURN_BYTES, is_large_object, rename_model_in, usage_of, write_in_turns
from sage_mesh.upstream.reported_failure import read_failure
from sage_mesh.upstream.upstream import Upstream

log = get_logger(__name__)

# A stream whose every choice has ended gets this long for its usage and its [DONE], after which it counts as complete.
AFTER_FINISH_SECONDS: Final = 2.0
# Its connection can be used again where it ends this soon after [DONE].
AFTER_DONE_SECONDS: Final = 0.25
# The events of a stream that its consumer gets in one piece are passed on together, this long apart: a tenth of what
# they cost one by one. What an interruption or an engine's death finds ungathered is computed again.
GATHER_SECONDS: Final = 0.25


class UpstreamProxy:
    """Sends requests to one server and passes its answers back.

    Args:
        engine_id: for messages to people.
        on_trouble: called when a request has failed in a way that says something about the server.
        lists: reads the server's list of models again and returns whether it has this one.
        silence_seconds: longest silence within a stream that has begun.
        follower: see ``plan_upstream_request``.
    """

    def __init__(
        self,
        engine_id: str,
        upstream: Upstream,
        on_trouble: Callable[[], None],
        lists: Callable[[str], Awaitable[bool]],
        silence_seconds: float,
        follower: FollowsPrompts | None = None,
    ) -> None:
        self._engine_id, self._upstream, self._follower = engine_id, upstream, follower
        self._failures = UpstreamFailures(engine_id, upstream, on_trouble, lists)
        self._silence_seconds = silence_seconds
        self._streams = OpenStreams()

    def on_missed_check(self, missed: int) -> None:
        """Give up the streams in which nothing comes, where the server's health is asked in vain as well."""
        self._streams.on_missed_check(missed)

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
        asked = plan_upstream_request(request, owner, self._follower)
        headers = upstream_headers(request)
        try:
            if request.delivered is not None and owner in TOKEN_SERVERS:
                context_tokens = card.max_context_tokens if card else 0
                asked = await self._from_tokens(asked, request, request.delivered, headers, context_tokens)
            # Leaving this block early, by cancellation too, closes the connection; that is how a server learns that
            # it can stop generating.
            async with self._upstream.post(asked.path, request.whole(asked.body), headers) as response:
                await self._pass_on(response, reply, request, asked, continuable=continuable)
        except NotFoundError as error:
            raise await self._failures.without_model(error, request.model) from None
        except asyncio.TimeoutError:
            raise self._failures.broken("did not answer in time") from None
        except OSError as error:
            raise self._failures.broken(describe_failure(error)) from None

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
        async with self._upstream.post("/tokenize", request.whole(plan.tokenize), headers) as response:
            answer = await response.read()
        prompt_ids = read_prompt_ids(answer) if response.status == 200 else None
        if prompt_ids is None:
            # No part of the answer: it may quote the prompt.
            log.info("goes on from text", engine=self._engine_id, tokenize_status=response.status)
            return asked
        return asked.from_tokens(plan.body(prompt_ids, context_tokens), request.endpoint)

    async def _pass_on(
        self,
        response: HttpAnswer,
        reply: ReplyWriter,
        request: EngineRequest,
        asked: UpstreamRequest,
        *,
        continuable: bool,
    ) -> None:
        if response.status != 200:
            raise await self._failures.refused(response)
        answer = AnswerReader(response)
        form = await answer.form()
        if form is None:
            raise self._failures.broken("answered with an empty body")
        if not wants_stream(request):
            if form is not Media.EVENT_STREAM and is_large_object(data := await answer.whole()):
                await self._reply_large(data, reply, request, asked)
            elif form is Media.EVENT_STREAM:
                self._reply_whole(None, await self._folded(answer, request), reply, request, asked)
            else:
                self._reply_whole(data, self._read(data, answer.content_type, request), reply, request, asked)
            return

        def begin() -> None:
            tells_tokens = asked.edits.tells_tokens
            reply.head(Media.EVENT_STREAM, model=request.model, continuable=continuable, tells_tokens=tells_tokens)

        if form is Media.EVENT_STREAM:
            await self._pass_stream(answer, reply, request, asked, begin)
            return
        value = self._read(await answer.whole(), answer.content_type, request)
        asked.edits.rename(value)
        begin()
        reply.usage(read_usage(value.get("usage")) or TokenUsage())
        reply.data(events_of(value, request.endpoint, include_usage=wants_usage(request)))

    def _read(self, data: bytes, content_type: str, request: EngineRequest) -> dict[str, Any]:
        """Parse and check a document."""
        try:
            value = exact_json.read(data)
        except ValueError:
            raise self._failures.broken(f"answered with {content_type!r} that is not JSON: {data[:80]!r}") from None
        failure = read_failure(value)
        if failure is not None:
            raise self._failures.reported(failure)
        if not is_answer(value, request.endpoint):
            raise self._failures.broken(
                f"answered {request.endpoint.path} with JSON that holds no answer: {data[:80]!r}"
            )
        return cast("dict[str, Any]", value)

    async def _folded(self, answer: AnswerReader, request: EngineRequest) -> dict[str, Any]:
        """Read a stream; return the document that it says."""
        folder = AnswerFolder(request.endpoint)
        choices = choices_asked(request.endpoint, request.body)
        reader = StreamReader(AnswerEdits(), choices, delivered=False, on_chunk=folder.take)
        piece = answer.first()
        while piece:
            reader.take(piece)
            if reader.failure is not None:
                break
            piece = await self._next(answer, reader.progress, must_be_clean=False)
        else:
            reader.end()
        if reader.failure is not None:
            raise self._failures.reported(reader.failure)
        self._check_end(reader.progress)
        document = folder.document()
        if not is_answer(document, request.endpoint):
            raise self._failures.broken(f"answered {request.endpoint.path} with events that hold no answer")
        return document

    def _reply_whole(
        self,
        data: bytes | None,
        value: dict[str, Any],
        reply: ReplyWriter,
        request: EngineRequest,
        asked: UpstreamRequest,
    ) -> None:
        if asked.edits.rename(value) or data is None:
            data = exact_json.write(value)
        reply.head(Media.JSON, model=request.model)
        reply.usage(read_usage(value.get("usage")) or TokenUsage())
        reply.data(data)

    async def _reply_large(
        self, data: bytes, reply: ReplyWriter, request: EngineRequest, asked: UpstreamRequest
    ) -> None:
        edits = asked.edits
        if edits.callers_model is not None:
            data = rename_model_in(data, edits.model, edits.callers_model)
        reply.head(Media.JSON, model=request.model)
        reply.usage(read_usage(usage_of(data)) or TokenUsage())
        await write_in_turns(reply, data)

    async def _pass_stream(
        self,
        answer: AnswerReader,
        reply: ReplyWriter,
        request: EngineRequest,
        asked: UpstreamRequest,
        begin: Callable[[], None],
    ) -> None:
        choices = choices_asked(request.endpoint, request.body)
        reader = StreamReader(asked.edits, choices, on_prompt=asked.on_prompt)
        progress = reader.progress
        # Where the usage is missing that the caller asked for, another engine can still count it.
        must_be_clean = wants_usage(request)
        tells_tokens = asked.edits.tells_tokens
        silence_seconds = self._silence_seconds
        begun = False
        stream = OpenStream(answer.close)
        self._streams.add(stream)
        try:
            piece = answer.first()
            while True:
                stream.pieces += 1
                for events in reader.take(piece) if piece else [reader.end()]:
                    if not events:
                        continue
                    if not begun:
                        begun = True
                        silence_seconds = answer.limit_silence(silence_seconds)
                        if request.in_one_piece:
                            answer.gather(GATHER_SECONDS)
                        reply.usage(reader.prompt_usage())  # for the report of the first token
                        begin()
                    if tells_tokens:
                        reply.tokens(reader.ids())
                    if len(events) <= TURN_BYTES:
                        reply.data(events)
                    else:
                        await write_in_turns(reply, events)
                if reader.failure is not None:
                    raise self._failures.midway(reader.failure) if begun else self._failures.reported(reader.failure)
                if not piece:
                    break
                if reply.paused:
                    stream.paused = True
                    await reply.until_resumed()
                    stream.paused = False
                    stream.pieces += 1
                if progress.complete:
                    piece = await self._next(answer, progress, must_be_clean=must_be_clean)
                else:
                    piece = await answer.next()
        except asyncio.TimeoutError:
            if not begun:
                raise
            raise self._failures.broken(f"sent nothing for {silence_seconds:g} s within a stream") from None
        except HttpError:
            if stream.given_up:
                raise self._failures.broken(
                    f"sends nothing, and {MISSED_CHECKS} checks of its health were not answered"
                ) from None
            raise
        finally:
            self._streams.remove(stream)
            # What was used counts however the stream ends.
            reply.usage(reader.usage())
        self._check_end(progress)
        if not progress.done:
            reply.data(DONE_EVENT)

    async def _next(self, answer: AnswerReader, progress: StreamProgress, *, must_be_clean: bool) -> bytes:
        """Return the next piece of a stream; empty at its end, and where a complete one does not end by itself.

        Args:
            must_be_clean: whether a connection that breaks before the usage was sent is a failure all the same.
        """
        if not progress.complete:
            return await answer.next()
        try:
            return await answer.next_within(AFTER_DONE_SECONDS if progress.done else AFTER_FINISH_SECONDS)
        except (asyncio.TimeoutError, OSError):
            if progress.done or progress.has_usage or not must_be_clean:
                return b""
            raise

    def _check_end(self, progress: StreamProgress) -> None:
        if not progress.begun:
            raise self._failures.broken(
                "ended its stream without an answer" + ("" if progress.done else " and without [DONE]")
            )
        if not (progress.done or progress.finished):
            raise self._failures.broken("ended its stream without a finish_reason and without [DONE]")
