"""Anthropic's Messages API at the gateway."""

from __future__ import annotations

from typing import Any, Final

from sage_common.errors import InvalidRequestError, SageError, UnauthenticatedError
from sage_gateway.admission import Admitted
from sage_gateway.asgi import Headers, Scope
from sage_gateway.credentials import AUTHORIZATION
from sage_gateway.dialects.anthropic_errors import anthropic_error
from sage_gateway.dialects.dialect import Translation, end_at_once
from sage_gateway.dialects.message_answer import MessageAnswer
from sage_gateway.dialects.message_request import read_message_request
from sage_mesh import exact_json

API_KEY: Final = b"x-api-key"
VERSION: Final = b"anthropic-version"
# The second takes less than the first and answers alike; the one before them had other events.
SERVED_VERSIONS: Final = ("2023-06-01", "2026-10-21")


class AnthropicMessages:
    """``/v1/messages``."""

    path = "/v1/messages"
    count_path = "/v1/messages/count_tokens"
    name = "messages"

    def read_headers(self, scope: Scope, headers: dict[str, str], *, key_required: bool) -> None:
        """Take the key from ``x-api-key`` where it is there.

        Raises:
            UnauthenticatedError: a key is needed and none is there, or there are two.
            InvalidRequestError: ``anthropic-version`` names another version.
        """
        keys = {value.decode("latin-1").strip() for name, value in scope["headers"] if name == API_KEY}
        bearer = headers.get(AUTHORIZATION)
        if bearer is not None:
            keys.add(bearer.partition(" ")[2].strip())
        if len(keys) > 1:
            raise UnauthenticatedError("x-api-key and Authorization hold different keys; send one", code="two_api_keys")
        if keys and bearer is None:
            headers[AUTHORIZATION] = f"Bearer {keys.pop()}"
        elif key_required and not keys:
            raise UnauthenticatedError("x-api-key header is required", code="missing_api_key")
        for name, value in scope["headers"]:
            if name == VERSION and value.decode("latin-1").strip() not in SERVED_VERSIONS:
                shown = value[:40].decode("latin-1")
                raise InvalidRequestError(
                    f"anthropic-version: {shown!r} is not served; use {' or '.join(SERVED_VERSIONS)}",
                    code="invalid_header",
                    param="anthropic-version",
                )

    async def translate(self, value: dict[str, Any], caller: Admitted) -> Translation:
        """Translate a parsed body. Raises InvalidRequestError."""
        request = read_message_request(value)
        answer = MessageAnswer(tuple(request.chat.get("stop", ())), shows_thinking=request.shows_thinking)
        return Translation(exact_json.write(request.chat), request.streaming, answer, end_at_once(answer))

    async def chat_to_count(self, value: dict[str, Any], tenant: str) -> dict[str, Any]:
        """Return the chat completion whose prompt is to be counted. Raises InvalidRequestError."""
        return read_message_request(value, counting=True).chat

    def counted(self, tokens: int) -> bytes:
        """Return the answer that says how many tokens there are."""
        return b'{"input_tokens":%d}' % tokens

    def id_headers(self, request_id: str) -> Headers:
        """Return Anthropic's header and SAGE's own."""
        return [(b"request-id", request_id.encode()), (b"x-request-id", request_id.encode())]

    def error(self, error: SageError, request_id: str) -> tuple[int, bytes]:
        """Return the status and the body of an error."""
        return anthropic_error(error, request_id)
