"""Answering the requests of batches: through the ring as everybody's, in the class of bulk work, with patience."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import tenacity

from sage_client.embedding_body import render_vectors
from sage_common.errors import (
    ContendedError,
    DeadlineExceededError,
    EngineFailedError,
    InternalError,
    InvalidRequestError,
    SageError,
    UnavailableError,
)
from sage_common.logging import get_logger
from sage_control_plane.request.request import Endpoint, Hints, ServiceClass
from sage_gateway.admission import Admitted
from sage_gateway.batches.batch_lines import BatchLine
from sage_gateway.batches.line_result import LineResult, answered, refused
from sage_gateway.dialects.chat_delta import ChatReader
from sage_gateway.dialects.dialect import Dialect
from sage_gateway.tenancy.gate import Gate
from sage_mesh import exact_json
from sage_mesh.inference_request import InferenceRequest, new_request_id
from sage_mesh.reply import Media, Reply, TokenUsage

log = get_logger(__name__)

BULK = Hints(service_class=ServiceClass.BULK)
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 30.0
# Of a request that engines fail at; one that finds no room waits until its batch's window is over.
MOST_FAILURES = 5
_FAILURES = (EngineFailedError, InternalError, DeadlineExceededError)
_NO_ROOM = (ContendedError, UnavailableError)
_BY_PATH = {one.path: one for one in (Endpoint.CHAT_COMPLETIONS, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS)}

Sleep = Callable[[float], Awaitable[None]]


class LineAnswers:
    """Answers one request after the other of one or several batches.

    Args:
        responses: how requests of ``/v1/responses`` are translated.
        in_flight: how many requests are in the ring at the same time.
        timeout_seconds: longest wait for one answer.
        sleep: waits between two tries.
    """

    def __init__(
        self,
        gate: Gate,
        responses: Dialect,
        *,
        in_flight: int,
        timeout_seconds: float,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._gate = gate
        self._responses = responses
        self._room = asyncio.Semaphore(in_flight)
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep

    def paths(self) -> tuple[str, ...]:
        """Return the endpoints that batches may be for."""
        return (*_BY_PATH, self._responses.path)

    async def answer(self, tenant: str, endpoint: str, line: BatchLine) -> LineResult:
        """Return what a request comes to. Cancel it to give the request up."""
        request_id = new_request_id()
        try:
            body, usage = await self._with_patience(tenant, endpoint, line, request_id)
        except SageError as error:
            return refused(line.number, line.custom_id, request_id, error)
        except Exception:
            log.exception("a line of a batch could not be answered", correlation_id=request_id)
            failure = InternalError("the gateway failed to answer; its log says why")
            return refused(line.number, line.custom_id, request_id, failure)
        return answered(line.number, line.custom_id, request_id, body, usage)

    async def _with_patience(
        self, tenant: str, endpoint: str, line: BatchLine, request_id: str
    ) -> tuple[bytes, TokenUsage]:
        attempts = tenacity.AsyncRetrying(
            sleep=self._sleep,
            wait=_wait,
            retry=tenacity.retry_if_exception_type((*_NO_ROOM, *_FAILURES)),
            stop=_Failures(),
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                async with self._room:
                    return await self._once(tenant, endpoint, line.body, request_id)
        raise AssertionError("the loop returns or raises")

    async def _once(
        self, tenant: str, endpoint: str, body: dict[str, Any], request_id: str
    ) -> tuple[bytes, TokenUsage]:
        if endpoint == self._responses.path:
            return await self._response(tenant, body, request_id)
        reply = await self._submit(tenant, _BY_PATH[endpoint], exact_json.write(body), request_id)
        try:
            return await _whole_body(reply)
        finally:
            reply.cancel("its batch does not wait for it any more")

    async def _response(self, tenant: str, body: dict[str, Any], request_id: str) -> tuple[bytes, TokenUsage]:
        if body.get("background"):
            raise InvalidRequestError(
                "'background' has no place in a batch, which is in the background", param="background"
            )
        # What a batch's file holds need not be kept once more; who wants it says so.
        asked = body if body.get("store") is not None else {**body, "store": False}
        translation = await self._responses.translate(asked, Admitted(tenant, "", BULK, None, ""))
        reply = await self._submit(tenant, Endpoint.CHAT_COMPLETIONS, translation.body, request_id)
        try:
            head = await reply.head()
            reader, answer = ChatReader(), translation.answer
            deltas = [delta async for piece in reply for delta in reader.feed(head.media, piece)]
            answer.begin(reply.request_id, next((delta.model for delta in deltas if delta.model), "") or head.model)
            for delta in deltas:
                answer.add(delta)
            await translation.end(reply.usage)
            return answer.document(), reply.usage
        finally:
            reply.cancel("its batch does not wait for it any more")

    async def _submit(self, tenant: str, endpoint: Endpoint, body: bytes, request_id: str) -> Reply:
        return await self._gate.submit(
            InferenceRequest(
                correlation_id=request_id,
                endpoint=endpoint,
                body=body,
                tenant=tenant,
                hints=BULK,
                timeout_seconds=self._timeout_seconds,
            )
        )


async def _whole_body(reply: Reply) -> tuple[bytes, TokenUsage]:
    head = await reply.head()
    if head.media is Media.EVENT_STREAM:
        raise InvalidRequestError("the engine answered with a stream, which a batch has no place for")
    body = await reply.read()
    if head.media is not Media.JSON:
        body = await render_vectors(body, head, reply.usage, as_base64=head.media is Media.VECTORS_BASE64)
    return body, reply.usage


class _Failures(tenacity.stop.stop_base):
    """Stops a request at the last failure that counts; waiting for room does not."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        assert retry_state.outcome is not None
        if isinstance(retry_state.outcome.exception(), _FAILURES):
            self._count += 1
        return self._count >= MOST_FAILURES


_growing = tenacity.wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS)


def _wait(retry_state: tenacity.RetryCallState) -> float:
    """Return how long to wait: what the error says, or longer each time."""
    assert retry_state.outcome is not None
    error = retry_state.outcome.exception()
    stated = error.retry_after_seconds if isinstance(error, SageError) else None
    grown = _growing(retry_state)
    return grown if stated is None else min(LONGEST_WAIT_SECONDS, max(stated, grown))
