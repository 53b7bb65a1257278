"""OpenAI's Responses API at the gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sage_client.error_body import error_body, status_of
from sage_common.errors import SageError
from sage_gateway.asgi import Headers, Scope
from sage_gateway.dialects.dialect import Translation
from sage_gateway.dialects.response_answer import ResponseAnswer
from sage_gateway.dialects.response_request import read_response_request
from sage_mesh import exact_json


class OpenAiResponses:
    """``/v1/responses``.

    Args:
        now: gives the time, in seconds since 1970.
    """

    path = "/v1/responses"
    count_path = "/v1/responses/input_tokens"
    name = "responses"

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def read_headers(self, scope: Scope, headers: dict[str, str], *, key_required: bool) -> None:
        """The headers are those of every endpoint."""

    def translate(self, value: dict[str, Any]) -> Translation:
        """Translate a parsed body. Raises InvalidRequestError."""
        request = read_response_request(value)
        answer = ResponseAnswer(request.echo, self._now, logprobs=request.logprobs)
        return Translation(exact_json.write(request.chat), request.streaming, answer)

    def chat_to_count(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return the chat completion whose prompt is to be counted. Raises InvalidRequestError."""
        return read_response_request(value).chat

    def counted(self, tokens: int) -> bytes:
        """Return the answer that says how many tokens there are."""
        return b'{"object":"response.input_tokens","input_tokens":%d}' % tokens

    def id_headers(self, request_id: str) -> Headers:
        """Return the header that names a request."""
        return [(b"x-request-id", request_id.encode())]

    def error(self, error: SageError, request_id: str) -> tuple[int, bytes]:
        """Return the status and the body of an error."""
        return status_of(error), error_body(error)
