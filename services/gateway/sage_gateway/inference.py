"""The hot path: one of the POST endpoints that engines answer, from ASGI to the edge and back.

A plain ASGI callable. The body is not parsed here, and one task is made for each request, which watches for the client
to go away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sage_client import headers as names
from sage_client.embedding_body import render_vectors
from sage_client.error_body import error_event, status_of
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
    Headers,
    Receive,
    Scope,
    Send,
    or_client_gone,
    send_error,
    send_method_not_allowed,
    send_whole,
)
from sage_gateway.body_reader import BodyReader
from sage_gateway.body_writer import body_writer
from sage_gateway.credentials import Credentials
from sage_gateway.keep_alive_comments import COMMENT, wants_stream, with_comments
from sage_gateway.metrics import EndpointMetrics
from sage_gateway.outflow import Outflow
from sage_gateway.tenancy.gate import Gate
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.reply import Media, Reply, ReplyHead
from sage_mesh.sse import DONE_EVENT

log = get_logger(__name__)

_REQUEST_ID = names.REQUEST_ID.encode()
_QUEUE_MS = names.QUEUE_MS.encode()
_ENGINE = names.ENGINE.encode()
_ATTEMPTS = names.ATTEMPTS.encode()
EVENT_STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # Proxies of nginx's kind would otherwise collect the stream before they pass it on.
    (b"x-accel-buffering", b"no"),
]
CLOSE = (b"connection", b"close")
_STREAMING = (Endpoint.CHAT_COMPLETIONS, Endpoint.COMPLETIONS)
# Follows an error event, as vLLM does it: OpenAI's clients raise at the event, and those that only wait for the end of
# the stream do not wait for ever.
_END = DONE_EVENT


class InferenceEndpoint:
    """Serves one endpoint through the edge."""

    def __init__(
        self,
        endpoint: Endpoint,
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
        self._endpoint = endpoint
        self._gate = gate
        self._credentials = credentials
        self._answers = answers
        self._bodies = bodies
        self._metrics = metrics
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._max_timeout_seconds = max_timeout_seconds
        self._comment_seconds = comment_seconds if endpoint in _STREAMING else None
        self._outflow = Outflow()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._metrics.count(self._serve(scope, receive, send), self._clock)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> int:
        headers = wanted_headers(scope)
        send = or_client_gone(send)
        if scope["method"] != "POST":
            named = [(_REQUEST_ID, request_id_of(headers).encode())]
            return await send_method_not_allowed(send, scope["method"], "POST", named)
        admitted: Admitted | None = None
        try:
            admitted = admit(headers, self._credentials)
            reply, comments = await self._submit(admitted, headers, receive)
        except SageError as error:
            reply_headers: Headers = [(_REQUEST_ID, request_id_of(headers).encode())]
            if admitted is not None:
                reply_headers += self._gate.headers(admitted.tenant)
            if "expect" in headers:
                # The client holds its body back until it is asked for it; now it never will be.
                reply_headers.append(CLOSE)
            return await send_error(send, error, reply_headers)
        reply_headers = [(_REQUEST_ID, reply.caller_id.encode()), *self._gate.headers(admitted.tenant)]
        watch = asyncio.get_running_loop().create_task(cancel_when_gone(receive, reply))
        try:
            with self._answers.holding(admitted.key_id, reply):
                if comments is not None:
                    return await self._stream(reply, reply_headers, send, scope, with_comments(aiter(reply), comments))
                return await self._answer(reply, reply_headers, send, scope)
        except SageError as error:
            return await send_error(send, error, reply_headers)
        except ClientGoneError:
            return CLIENT_GONE
        except Exception:
            log.exception("answering failed", request_id=reply.request_id, correlation_id=reply.correlation_id)
            failure = InternalError("the gateway failed to answer; its log says why")
            return await send_error(send, failure, reply_headers)
        finally:
            if not reply.ended:
                watch.cancel()
                reply.cancel("the gateway stopped waiting")

    async def _submit(
        self, admitted: Admitted, headers: dict[str, str], receive: Receive
    ) -> tuple[Reply, float | None]:
        """Submit a request; return its reply, and after how long a silence a comment goes into it."""
        body = await self._bodies.read(headers, receive)
        request = InferenceRequest(
            correlation_id=correlation_id_of(headers),
            endpoint=self._endpoint,
            body=body,
            tenant=admitted.tenant,
            hints=admitted.hints,
            timeout_seconds=min(admitted.timeout_seconds or self._timeout_seconds, self._max_timeout_seconds),
            traceparent=admitted.traceparent,
            key_id=admitted.key_id,
        )
        reply = await self._gate.submit(request)
        commented = self._comment_seconds is not None and wants_stream(body)
        return reply, self._comment_seconds if commented else None

    async def _answer(self, reply: Reply, headers: Headers, send: Send, scope: Scope) -> int:
        began = self._clock.now()
        head = await reply.head()
        self._metrics.first_byte(self._clock.now() - began)
        headers += way_of(head)
        if head.media is Media.EVENT_STREAM:
            return await self._stream(reply, headers, send, scope)
        body = await reply.read()
        headers += [(name.encode(), value.encode()) for name, value in names.usage_headers(reply.usage)]
        if head.media is not Media.JSON:
            as_base64 = head.media is Media.VECTORS_BASE64
            body = await render_vectors(body, head, reply.usage, as_base64=as_base64)
        await send_whole(send, 200, [JSON, *headers], body)
        return 200

    async def _stream(
        self,
        reply: Reply,
        headers: Headers,
        send: Send,
        scope: Scope,
        commented: AsyncIterator[bytes] | None = None,
    ) -> int:
        """Send a stream.

        Args:
            commented: its pieces and the comments between them; None for the pieces alone, whose head is known.
        """
        began = self._clock.now()
        pieces = aiter(reply) if commented is None else commented
        # An error before the first bytes still gets its own status.
        piece = await anext(pieces, None)
        if commented is not None and piece != COMMENT:
            self._metrics.first_byte(self._clock.now() - began)
            headers += way_of(await reply.head())
        await send({"type": "http.response.start", "status": 200, "headers": [*EVENT_STREAM, *headers]})
        status = 200
        last = b""
        try:
            # The edge gives whole events, so that an error event is never glued to a torn one.
            while piece is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                # After a comment, the next piece is being waited for already.
                if piece != COMMENT and (writer := body_writer(scope)) is not None:
                    await self._outflow.pass_on(reply, writer, self._comment_seconds if commented else None)
                piece = await anext(pieces, None)
        except SageError as error:
            status = status_of(error)
            last = error_event(error) + _END
        await send({"type": "http.response.body", "body": last})
        return status


def way_of(head: ReplyHead) -> Headers:
    """Return the headers that say which way a request went."""
    return [
        (_QUEUE_MS, b"%.3f" % head.queue_ms),
        (_ENGINE, head.engine_id.encode("latin-1", "replace")),
        (_ATTEMPTS, b"%d" % head.tries),
    ]


async def cancel_when_gone(receive: Receive, reply: Reply) -> None:
    """Cancel the request when its client goes away. Ends with the response too, after which ASGI says the same."""
    while (await receive())["type"] != "http.disconnect":
        pass
    reply.cancel("the client went away")
