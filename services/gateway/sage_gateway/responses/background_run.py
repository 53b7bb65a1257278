"""One response in the background: made by the gateway that holds it, anew where another has left it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sage_client.headers import hints_from_headers
from sage_common.errors import InternalError, InvalidRequestError, NotFoundError, SageError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.request import Endpoint
from sage_gateway.dialects.chat_delta import ChatReader
from sage_gateway.dialects.dialect_endpoint import model_of
from sage_gateway.dialects.response_answer import ResponseAnswer
from sage_gateway.dialects.response_request import read_response_request
from sage_gateway.responses.response_store import ResponseStore
from sage_gateway.responses.stored_response import IN_PROGRESS, BackgroundOrder, StoredResponse
from sage_gateway.tenancy.gate import Gate
from sage_mesh import exact_json
from sage_mesh.inference_request import InferenceRequest

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

    def __init__(self, store: ResponseStore, gate: Gate, now: Callable[[], float]) -> None:
        self._store = store
        self._gate = gate
        self._now = now

    async def run(self, tenant: str, response_id: str) -> None:
        """Make a response to its end. Cancel it to leave the response to another gateway.

        Raises:
            nats.errors.Error, asyncio.TimeoutError: JetStream does not answer; another run makes the response.
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
        except InvalidRequestError as error:
            # Another version of the gateway has read it otherwise.
            failed = {"code": "server_error", "message": error.message}
            await self._tell(stored, {**stored.document, "status": "failed", "error": failed}, None)

    async def _make(self, stored: StoredResponse, order: BackgroundOrder) -> None:
        request = read_response_request(order.body, stored.earlier)
        answer = ResponseAnswer(request.echo, self._now, logprobs=request.logprobs)
        answer.begin(stored.id.removeprefix("resp_"), str(stored.document["model"]))
        answer.mark(created_at=stored.document["created_at"])
        try:
            await self._tell(stored, {**stored.document, "status": IN_PROGRESS}, order)
            making = asyncio.create_task(self._answer(stored, order, request.chat, answer), name=f"make-{stored.id}")
            try:
                while not making.done():
                    await asyncio.wait({making}, timeout=LOOK_SECONDS)
                    current = await self._store.find(stored.tenant, stored.id)
                    if current is None or not current.value.is_open:
                        return
                making.result()
            finally:
                await end_tasks(making)
            await self._tell(stored, answer.response, None)
        except NotFoundError:
            log.info("a response was deleted while it was made", response=stored.id)

    async def _answer(
        self, stored: StoredResponse, order: BackgroundOrder, chat: dict[str, Any], answer: ResponseAnswer
    ) -> None:
        """Bring an answer to its end, the one or the other."""
        try:
            reply = await self._gate.submit(
                InferenceRequest(
                    correlation_id=stored.id,
                    endpoint=Endpoint.CHAT_COMPLETIONS,
                    body=exact_json.write(chat),
                    tenant=stored.tenant,
                    hints=hints_from_headers(order.hints),
                    timeout_seconds=order.timeout_seconds,
                    key_id=order.key_id,
                )
            )
            try:
                head = await reply.head()
                reader = ChatReader()
                deltas = [delta async for piece in reply for delta in reader.feed(head.media, piece)]
                answer.mark(model=model_of(deltas, head))
                for delta in deltas:
                    answer.add(delta)
                answer.close(reply.usage)
            finally:
                reply.cancel("its response was cancelled")
        except SageError as error:
            answer.failed(error)
        except Exception:
            log.exception("a response in the background could not be made", response=stored.id)
            answer.failed(InternalError("the gateway failed to answer; its log says why"))

    async def _tell(self, stored: StoredResponse, document: dict[str, Any], order: BackgroundOrder | None) -> None:
        """Store what a response has come to, unless it has been ended meanwhile."""

        def told(current: StoredResponse) -> StoredResponse:
            return replace(current, document=document, order=order) if current.is_open else current

        await self._store.change(stored.tenant, stored.id, told)
