"""What a request for a response has to do with stored ones: where it goes on from, and where its answer goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sage_client.headers import hints_to_headers
from sage_common.errors import ConflictError, TooLargeError, UnavailableError
from sage_common.logging import get_logger
from sage_gateway.admission import Admitted
from sage_gateway.dialects.response_answer import ResponseAnswer
from sage_gateway.dialects.response_request import ResponseRequest
from sage_gateway.responses.response_events import ResponseEvents
from sage_gateway.responses.response_store import ResponseStore
from sage_gateway.responses.stored_response import (
    SPOKEN,
    BackgroundOrder,
    Item,
    StoredResponse,
    input_items,
    new_response_id,
)
from sage_mesh.reply import TokenUsage
from sage_platform.jetstream_access import reaching_jetstream

log = get_logger(__name__)

# An answer does not wait for longer to be stored.
STORE_SECONDS = 3.0


class ResponseKeeping:
    """Finds and stores responses.

    Args:
        timeout_seconds: longest wait for an answer in the background, where its caller sets no limit; and the longest
            that a caller can set.
    """

    def __init__(
        self, store: ResponseStore, events: ResponseEvents, *, timeout_seconds: float, max_timeout_seconds: float
    ) -> None:
        self._store = store
        self.events = events
        self._timeout_seconds = timeout_seconds
        self._max_timeout_seconds = max_timeout_seconds

    async def earlier(self, tenant: str, value: dict[str, Any]) -> list[Item]:
        """Return the conversation that a request goes on with; empty where it begins one.

        Raises:
            NotFoundError: the tenant has no such response.
            ConflictError: the response has nothing to go on from.
        """
        previous = value.get("previous_response_id")
        if not isinstance(previous, str):
            return []
        with reaching_jetstream():
            response = await self._store.get(tenant, previous, "previous_response_id")
        if response.status not in SPOKEN:
            raise ConflictError(
                f"the response {response.id} is {response.status}; a conversation goes on from one that is completed",
                code="response_not_completed",
                param="previous_response_id",
            )
        return response.conversation

    def ending(
        self,
        tenant: str,
        value: dict[str, Any],
        earlier: list[Item],
        request: ResponseRequest,
        answer: ResponseAnswer,
    ) -> Callable[[TokenUsage], Any]:
        """Return what ends an answer: stores it, and then tells its end.

        Where it cannot be stored and its caller did not say ``store``, the answer says that it is not stored.
        """

        async def end(usage: TokenUsage) -> bytes:
            closing = answer.close(usage)
            document = answer.response
            response_id = str(document["id"])
            stored = StoredResponse(
                response_id, tenant, document, input_items(value["input"], response_id), tuple(earlier)
            )
            try:
                with reaching_jetstream():
                    await asyncio.wait_for(self._store.add(stored), STORE_SECONDS)
            except (UnavailableError, TooLargeError) as error:
                if request.store:
                    raise
                log.warning("a response is not stored", response=response_id, error=error.message)
                answer.mark(store=False)
            return closing + answer.tell_end()

        return end

    async def begin(
        self,
        caller: Admitted,
        value: dict[str, Any],
        earlier: list[Item],
        answer: ResponseAnswer,
        *,
        streaming: bool,
    ) -> StoredResponse:
        """Store a response that is to be made in the background, with its first events. Raises SageError."""
        response_id = new_response_id()
        model = value.get("model")
        opening = answer.begin_queued(response_id.removeprefix("resp_"), model if isinstance(model, str) else "")
        timeout_seconds = min(caller.timeout_seconds or self._timeout_seconds, self._max_timeout_seconds)
        stored = StoredResponse(
            response_id,
            caller.tenant,
            answer.response,
            input_items(value["input"], response_id),
            tuple(earlier),
            BackgroundOrder(value, hints_to_headers(caller.hints), timeout_seconds, caller.key_id),
        )
        with reaching_jetstream():
            await self._store.marks.set(caller.tenant, response_id)
            # Before the response is there to be made: whoever makes it goes on behind them.
            if streaming:
                # Where there is no room for them, it is made all the same, and its stream tells its end alone.
                await self.events.append(await self.events.log(caller.tenant, response_id), opening)
            await self._store.add(stored)
        return stored
