"""OpenAI's Responses API at the gateway."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sage_client.error_body import error_body, status_of
from sage_common.errors import SageError
from sage_gateway.admission import Admitted
from sage_gateway.asgi import Headers, Scope
from sage_gateway.dialects.dialect import Translation, end_at_once
from sage_gateway.dialects.response_answer import ResponseAnswer
from sage_gateway.dialects.response_request import read_response_request
from sage_gateway.responses.response_keeping import ResponseKeeping
from sage_mesh import exact_json


class OpenAiResponses:
    """``/v1/responses``.

    Args:
        now: gives the time, in seconds since 1970.
        keeping: of responses.
    """

    path = "/v1/responses"
    count_path = "/v1/responses/input_tokens"
    name = "responses"

    def __init__(self, now: Callable[[], float], keeping: ResponseKeeping) -> None:
        self._now = now
        self._keeping = keeping

    def read_headers(self, scope: Scope, headers: dict[str, str], *, key_required: bool) -> None:
        """The headers are those of every endpoint."""

    async def translate(self, value: dict[str, Any], caller: Admitted) -> Translation:
        """Translate a parsed body. Raises InvalidRequestError, NotFoundError, ConflictError."""
        earlier = await self._keeping.earlier(caller.tenant, value)
        request = read_response_request(value, earlier)
        answer = ResponseAnswer(request.echo, self._now, logprobs=request.logprobs)
        body = exact_json.write(request.chat)
        if request.background:
            stored = await self._keeping.begin(caller, value, earlier, answer, streaming=request.streaming)
            if request.streaming:
                told = partial(self._keeping.events.follow, stored.tenant, stored.id)
                return Translation(body, True, answer, end_at_once(answer), told=told)
            return Translation(body, False, answer, end_at_once(answer), answer.document())
        if request.store is False:
            return Translation(body, request.streaming, answer, end_at_once(answer))
        end = self._keeping.ending(caller.tenant, value, earlier, request, answer)
        return Translation(body, request.streaming, answer, end)

    async def chat_to_count(self, value: dict[str, Any], tenant: str) -> dict[str, Any]:
        """Return the chat completion whose prompt is to be counted. Raises as ``translate``."""
        return read_response_request(value, await self._keeping.earlier(tenant, value)).chat

    def counted(self, tokens: int) -> bytes:
        """Return the answer that says how many tokens there are."""
        return b'{"object":"response.input_tokens","input_tokens":%d}' % tokens

    def id_headers(self, request_id: str) -> Headers:
        """Return the header that names a request."""
        return [(b"x-request-id", request_id.encode())]

    def error(self, error: SageError, request_id: str) -> tuple[int, bytes]:
        """Return the status and the body of an error."""
        return status_of(error), error_body(error)
