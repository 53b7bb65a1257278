"""Counting the tokens of a prompt without answering it.

The count is the estimate that requests are scheduled by: nothing is asked of an engine, so that an agent may count as
often as it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sage_common.clock import Clock
from sage_common.errors import SageError
from sage_control_plane.request.body import read_body
from sage_control_plane.request.features import DEFAULT_BLOCK_BYTES, FeatureExtractor
from sage_control_plane.request.request import Endpoint
from sage_gateway.admission import admit, request_id_of, wanted_headers
from sage_gateway.asgi import JSON, Receive, Scope, Send, or_client_gone, send_whole
from sage_gateway.body_reader import BodyReader
from sage_gateway.credentials import Credentials
from sage_gateway.dialects.dialect import Dialect
from sage_gateway.dialects.fields import read_object
from sage_gateway.dialects.refusal import check_method, send_refusal
from sage_gateway.metrics import EndpointMetrics
from sage_mesh import exact_json
from sage_mesh.directory import EngineDirectory

# What of a prompt is no message; templates write it out as JSON.
_BESIDE_MESSAGES = ("tools", "response_format")


class TokenCountEndpoint:
    """Serves one API's operation that counts tokens.

    Args:
        served_name: returns the served model that a name leads to.
    """

    def __init__(
        self,
        dialect: Dialect,
        directory: EngineDirectory,
        served_name: Callable[[str], str],
        extract_features: FeatureExtractor,
        credentials: Credentials,
        bodies: BodyReader,
        metrics: EndpointMetrics,
        clock: Clock,
    ) -> None:
        self._dialect = dialect
        self._directory = directory
        self._served_name = served_name
        self._extract = extract_features
        self._credentials = credentials
        self._bodies = bodies
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._metrics.count(self._serve(scope, receive, or_client_gone(send)), self._clock)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> int:
        headers = wanted_headers(scope)
        request_id = request_id_of(headers)
        try:
            check_method(scope)
            self._dialect.read_headers(scope, headers, key_required=self._credentials.required)
            tenant = admit(headers, self._credentials).tenant
            value = read_object(await self._bodies.read(headers, receive))
            chat = await self._dialect.chat_to_count(value, tenant)
            counted = self._dialect.counted(self._estimate(chat))
        except SageError as error:
            return await send_refusal(send, self._dialect, error, request_id, body_expected="expect" in headers)
        await send_whole(send, 200, [JSON, *self._dialect.id_headers(request_id)], counted)
        return 200

    def _estimate(self, chat: dict[str, Any]) -> int:
        content = read_body(Endpoint.CHAT_COMPLETIONS, exact_json.write(chat))
        self._directory.catalog.resolve(self._served_name(content.model), Endpoint.CHAT_COMPLETIONS)
        beside = [exact_json.write(chat[name]) for name in _BESIDE_MESSAGES if chat.get(name)]
        calls = [exact_json.write(message["tool_calls"]) for message in chat["messages"] if message.get("tool_calls")]
        return self._extract([*content.segments, *beside, *calls], DEFAULT_BLOCK_BYTES)[0]
