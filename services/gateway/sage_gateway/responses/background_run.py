"""One response in the background: made by the gateway that holds it, anew where another has left it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from nats.errors import Error as NatsError

from sage_client.headers import hints_from_headers
from sage_common.errors import InternalError, InvalidRequestError, NotFoundError, SageError, TooLargeError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.request import Endpoint
from sage_gateway.dialects.chat_delta import ChatDelta, ChatReader
from sage_gateway.dialects.dialect_endpoint import model_of
from sage_gateway.dialects.response_answer import ResponseAnswer
from sage_gateway.dialects.response_request import read_response_request
from sage_gateway.responses.response_events import ResponseEvents
from sage_gateway.responses.response_store import ResponseStore
from sage_gateway.responses.stored_response import IN_PROGRESS, BackgroundOrder, StoredResponse
from sage_gateway.responses.taken_up import Telling, plan_rest, told_output, told_text, whole_counts
from sage_gateway.tenancy.gate import Gate
from sage_mesh import exact_json
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.reply import Reply, TokenUsage
from sage_platform.fenced_log import FencedLogError, until_jetstream_answers

log = get_logger(__name__)

# How often its tenant's wish to end it is looked for.
LOOK_SECONDS = 0.5
# How long the record of a new response may come after its mark.
CREATION_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.05


class BackgroundRuns:
    """Makes responses that nobody waits for.

    Args:
        now: seconds since 1970-01-01 UTC.
    """

    def __init__(self, store: ResponseStore, events: ResponseEvents, gate: Gate, now: Callable[[], float]) -> None:
        self._store = store
        self._events = events
        self._gate = gate
        self._now = now

    async def run(self, tenant: str, response_id: str) -> None:
        """Make a response to its end. Cancel it to leave the response to another gateway.

        Raises:
            nats.errors.Error, asyncio.TimeoutError: JetStream does not answer; another run makes the response.
            FencedLogError: another gateway tells it now.
        """
        stored = await self._find(tenant, response_id)
        if stored is not None and stored.is_open and stored.order is not None:
            await self._make_or_fail(stored, stored.order)
        await self._store.marks.remove(tenant, response_id)

    async def _find(self, tenant: str, response_id: str) -> StoredResponse | None:
        """Return a response; None where there is a mark of it alone. The mark is set before the record is stored."""
        tries = round(CREATION_SECONDS / _LOOK_AGAIN_SECONDS)
        for _ in range(tries):
            stored = await self._store.find(tenant, response_id)
            if stored is not None:
                return stored.value
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        return None

    async def _make_or_fail(self, stored: StoredResponse, order: BackgroundOrder) -> None:
        try:
            await self._make(stored, order)
        except (InvalidRequestError, TooLargeError) as error:
            # Another version of the gateway has read it otherwise, or stored it under another limit.
            failed = {"code": "server_error", "message": error.message}
            await self._tell(stored, {**stored.document, "status": "failed", "error": failed}, None)

    async def _make(self, stored: StoredResponse, order: BackgroundOrder) -> None:
        request = read_response_request(order.body, stored.earlier)
        answer = ResponseAnswer(request.echo, self._now, logprobs=request.logprobs)
        answer.begin(stored.id.removeprefix("resp_"), str(stored.document["model"]))
        answer.mark(created_at=stored.document["created_at"])
        telling = await Telling.take_up(self._events, stored) if request.streaming else None
        try:
            await self._tell(stored, {**stored.document, "status": IN_PROGRESS}, order)
            making = asyncio.create_task(
                self._answer(stored, order, request.chat, answer, telling), name=f"make-{stored.id}"
            )
            try:
                while not making.done():
                    await asyncio.wait({making}, timeout=LOOK_SECONDS)
                    if not await self._is_wanted(stored):
                        return
                making.result()
            finally:
                await end_tasks(making)
            await self._tell_end(stored, answer)
            if telling is not None:
                await telling.tell(answer.tell_end())
        except NotFoundError:
            log.info("a response was deleted while it was made", response=stored.id)

    async def _is_wanted(self, stored: StoredResponse) -> bool:
        """Whether a response is still to be made. While JetStream does not say so, what was begun is not given up."""
        try:
            current = await self._store.find(stored.tenant, stored.id)
        except (NatsError, asyncio.TimeoutError):
            return True
        return current is not None and current.value.is_open

    async def _answer(
        self,
        stored: StoredResponse,
        order: BackgroundOrder,
        chat: dict[str, Any],
        answer: ResponseAnswer,
        telling: Telling | None,
    ) -> None:
        """Bring an answer to its end, the one or the other."""
        try:
            if telling is None:
                await self._add_all(stored, order, exact_json.write(chat), answer)
            else:
                await self._tell_all(stored, order, chat, answer, telling)
        except (FencedLogError, NatsError, asyncio.TimeoutError):
            # Of events that cannot be told nobody may think that they were; another run goes on behind those that were.
            raise
        except SageError as error:
            answer.end_failed(error)
        except Exception:
            log.exception("a response in the background could not be made", response=stored.id)
            answer.end_failed(InternalError("the gateway failed to answer; its log says why"))

    async def _add_all(
        self, stored: StoredResponse, order: BackgroundOrder, body: bytes, answer: ResponseAnswer
    ) -> None:
        async with self._replying(stored, order, body) as reply:
            head = await reply.head()
            reader = ChatReader()
            deltas = [delta async for piece in reply for delta in reader.feed(head.media, piece)]
            answer.mark(model=model_of(deltas, head))
            for delta in deltas:
                answer.add(delta)
            answer.close(reply.usage)

    async def _tell_all(
        self,
        stored: StoredResponse,
        order: BackgroundOrder,
        chat: dict[str, Any],
        answer: ResponseAnswer,
        telling: Telling,
    ) -> None:
        """Tell of what comes as it comes, behind what was told before."""
        await telling.tell(answer.go_on(telling.next_number, begun=telling.begun))
        output = told_output(telling.earlier)
        if output is not None:
            answer.end_told(output)
            return
        told = told_text(telling.earlier)
        plan = plan_rest(chat, told)
        answer.take_up(told.text)
        if plan.complete:
            answer.add(ChatDelta(finish_reason="length"))
            await telling.tell(answer.close(TokenUsage(completion_tokens=told.tokens)))
            return
        assert plan.body is not None
        async with self._replying(stored, order, plan.body) as reply:
            head = await reply.head()
            reader = ChatReader()
            async for piece in reply:
                deltas = reader.feed(head.media, piece)
                answer.mark(model=model_of(deltas, head))
                await telling.tell(b"".join(answer.add(whole_counts(delta, plan)) for delta in deltas))
            await telling.tell(answer.close(plan.continuation.usage(reply.usage)))

    @asynccontextmanager
    async def _replying(self, stored: StoredResponse, order: BackgroundOrder, body: bytes) -> AsyncIterator[Reply]:
        reply = await self._gate.submit(
            InferenceRequest(
                correlation_id=stored.id,
                endpoint=Endpoint.CHAT_COMPLETIONS,
                body=body,
                tenant=stored.tenant,
                hints=hints_from_headers(order.hints),
                timeout_seconds=order.timeout_seconds,
                key_id=order.key_id,
            )
        )
        try:
            yield reply
        finally:
            reply.cancel("its response was cancelled")

    async def _tell_end(self, stored: StoredResponse, answer: ResponseAnswer) -> None:
        """Store how an answer has ended; that it failed where it is too long to be stored."""
        try:
            await self._tell(stored, answer.response, None)
        except TooLargeError as error:
            answer.end_failed(error)
            answer.mark(output=[])
            await self._tell(stored, answer.response, None)

    async def _tell(self, stored: StoredResponse, document: dict[str, Any], order: BackgroundOrder | None) -> None:
        """Store what a response has come to, unless it has been ended meanwhile. Waits while JetStream is started
        again: an answer that is not stored has to be asked for, and paid, once more."""

        def told(current: StoredResponse) -> StoredResponse:
            return replace(current, document=document, order=order) if current.is_open else current

        async for attempt in until_jetstream_answers():
            with attempt:
                await self._store.change(stored.tenant, stored.id, told)
