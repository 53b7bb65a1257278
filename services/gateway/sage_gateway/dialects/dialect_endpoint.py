"""An API that is served by translation: from ASGI to the edge as a chat completion, and back.

Like the endpoints that need no translation (:mod:`sage_gateway.inference`), but the body is parsed, and so is every
event of the answer. One task is made for each request, which watches for the client to go away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from sage_common.clock import Clock
from sage_common.errors import InternalError, SageError
from sage_common.logging import get_logger
from sage_control_plane.request.request import Endpoint
from sage_gateway.admission import Admitted, admit, correlation_id_of, request_id_of, wanted_headers
from sage_gateway.answers_by_key import AnswersByKey
from sage_gateway.asgi import (
    CLIENT_GONE,
    JSON,
    ClientGoneError,
    Receive,
    Scope,
    Send,
    or_client_gone,
    send_whole,
)
from sage_gateway.body_reader import BodyReader
from sage_gateway.credentials import Credentials
from sage_gateway.dialects.chat_delta import ChatDelta, ChatReader
from sage_gateway.dialects.dialect import Dialect, Translation
from sage_gateway.dialects.fields import read_object
from sage_gateway.dialects.refusal import check_method, send_refusal
from sage_gateway.dialects.told_stream import told_stream
from sage_gateway.inference import EVENT_STREAM, cancel_when_gone, way_of
from sage_gateway.keep_alive_comments import COMMENT, with_comments
from sage_gateway.metrics import EndpointMetrics
from sage_gateway.tenancy.gate import Gate, naming_rates
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.reply import Media, Reply, ReplyHead

log = get_logger(__name__)


class DialectEndpoint:
    """Serves one API through the edge."""

    def __init__(
        self,
        dialect: Dialect,
        gate: Gate,
        credentials: Credentials,
        answers: AnswersByKey,
        bodies: BodyReader,
        metrics: EndpointMetrics,
        clock: Clock,
        *,
        timeout_seconds: float,
        max_timeout_seconds: float,
        comment_seconds: float | None = None,
    ) -> None:
        self._dialect = dialect
        self._gate = gate
        self._credentials = credentials
        self._answers = answers
        self._bodies = bodies
        self._metrics = metrics
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._max_timeout_seconds = max_timeout_seconds
        self._comment_seconds = comment_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._metrics.count(self._serve(scope, receive, or_client_gone(send)), self._clock)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> int:
        headers = wanted_headers(scope)
        try:
            admitted = self._admit(scope, headers)
            send = naming_rates(send, self._gate, admitted.tenant)
            translation = await self._dialect.translate(
                read_object(await self._bodies.read(headers, receive)), admitted
            )
            if translation.told is not None:
                events = self._answers.followed(admitted.key_id, translation.told)
                return await self._told(events, request_id_of(headers), scope, receive, send)
            if translation.begun is not None:
                return await self._begun(translation.begun, request_id_of(headers), send)
            reply = await self._submit(translation, admitted, headers)
        except SageError as error:
            return await send_refusal(
                send, self._dialect, error, request_id_of(headers), body_expected="expect" in headers
            )
        watch = asyncio.get_running_loop().create_task(cancel_when_gone(receive, reply))
        try:
            with self._answers.holding(admitted.key_id, reply):
                if translation.streaming:
                    return await self._stream(reply, translation, send)
                return await self._whole(reply, translation, send)
        except SageError as error:
            return await send_refusal(send, self._dialect, error, reply.caller_id)
        except ClientGoneError:
            return CLIENT_GONE
        except Exception:
            log.exception("answering failed", request_id=reply.request_id, correlation_id=reply.correlation_id)
            failure = InternalError("the gateway failed to answer; its log says why")
            return await send_refusal(send, self._dialect, failure, reply.caller_id)
        finally:
            if not reply.ended:
                watch.cancel()
                reply.cancel("the gateway stopped waiting")

    def _admit(self, scope: Scope, headers: dict[str, str]) -> Admitted:
        check_method(scope)
        self._dialect.read_headers(scope, headers, key_required=self._credentials.required)
        return admit(headers, self._credentials)

    async def _submit(self, translation: Translation, admitted: Admitted, headers: dict[str, str]) -> Reply:
        request = InferenceRequest(
            correlation_id=correlation_id_of(headers),
            endpoint=Endpoint.CHAT_COMPLETIONS,
            body=translation.body,
            tenant=admitted.tenant,
            hints=admitted.hints,
            timeout_seconds=min(admitted.timeout_seconds or self._timeout_seconds, self._max_timeout_seconds),
            traceparent=admitted.traceparent,
            key_id=admitted.key_id,
        )
        return await self._gate.submit(request)

    async def _begun(self, document: bytes, request_id: str, send: Send) -> int:
        """Answer a request that is worked on in the background."""
        await send_whole(send, 200, [JSON, *self._dialect.id_headers(request_id)], document)
        return 200

    async def _told(
        self, events: AsyncIterator[bytes], request_id: str, scope: Scope, receive: Receive, send: Send
    ) -> int:
        """Answer with the events of a request that is worked on in the background, which goes on without its client."""
        if self._comment_seconds is not None:
            events = with_comments(events, self._comment_seconds)
        response = told_stream(events, self._dialect.id_headers(request_id))
        await response(scope, receive, send)
        return 200

    async def _whole(self, reply: Reply, translation: Translation, send: Send) -> int:
        answer = translation.answer
        began = self._clock.now()
        head = await reply.head()
        self._metrics.first_byte(self._clock.now() - began)
        reader = ChatReader()
        if head.media is Media.EVENT_STREAM:
            # Of a stream only so much may wait to be read.
            deltas = [delta async for piece in reply for delta in reader.feed(head.media, piece)]
        else:
            deltas = reader.feed(head.media, await reply.read())
        answer.begin(reply.request_id, model_of(deltas, head))
        for delta in deltas:
            answer.add(delta)
        await translation.end(reply.usage)
        headers = [JSON, *self._dialect.id_headers(reply.caller_id), *way_of(head)]
        await send_whole(send, 200, headers, answer.document())
        return 200

    async def _stream(self, reply: Reply, translation: Translation, send: Send) -> int:
        began = self._clock.now()
        pieces = aiter(reply) if self._comment_seconds is None else with_comments(aiter(reply), self._comment_seconds)
        events = _events(reply, translation, pieces)
        # An error before the first event still gets its own status.
        piece = await anext(events)
        headers = self._dialect.id_headers(reply.caller_id)
        if piece != COMMENT:
            self._metrics.first_byte(self._clock.now() - began)
            headers += way_of(await reply.head())
        await send({"type": "http.response.start", "status": 200, "headers": [*EVENT_STREAM, *headers]})
        status = 200
        last = b""
        try:
            while piece:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await anext(events, b"")
        except SageError as error:
            status = self._dialect.error(error, reply.caller_id)[0]
            last = translation.answer.failed(error)
        await send({"type": "http.response.body", "body": last})
        return status


async def _events(reply: Reply, translation: Translation, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the events of an answer, and comments; the first with those that open the stream. Raises SageError."""
    reader, answer = ChatReader(), translation.answer
    begun = False
    async for piece in pieces:
        if piece == COMMENT:
            yield piece
            continue
        head = await reply.head()
        if head.media is not Media.EVENT_STREAM:
            piece += await reply.read()
        deltas = reader.feed(head.media, piece)
        opening = b"" if begun else answer.begin(reply.request_id, model_of(deltas, head))
        begun = True
        events = opening + b"".join([answer.add(delta) for delta in deltas])
        if events:
            yield events
    opening = b"" if begun else answer.begin(reply.request_id, (await reply.head()).model)
    yield opening + await translation.end(reply.usage)


def model_of(deltas: Sequence[ChatDelta], head: ReplyHead) -> str:
    """Return the name of the model to report: the engine's own, or the one that was asked."""
    return next((delta.model for delta in deltas if delta.model), "") or head.model
