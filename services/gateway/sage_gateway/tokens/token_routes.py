"""``/tokenize`` and ``/detokenize``, vLLM's API, for every model whose engine has a tokenizer to ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import NotRequired, TypedDict

from sage_gateway.admission import admit, wanted_headers
from sage_gateway.body_reader import BodyReader
from sage_gateway.credentials import Credentials
from sage_gateway.dialects.fields import read_object
from sage_gateway.openapi.operation import operation, routes_of
from sage_gateway.tokens.token_engines import TokenEngines
from sage_gateway.tokens.token_request import DetokenizeBody, TokenizeBody, check_detokenize, check_tokenize
from sage_mesh import exact_json


class Tokens(TypedDict):
    """The tokens of a text, as its engine gives them."""

    count: int
    tokens: list[int]
    max_model_len: NotRequired[int | None]
    token_strs: NotRequired[list[str] | None]


class DetokenizedText(TypedDict):
    """The text of tokens."""

    prompt: str


class TokenRoutes:
    """Serves the tokens of texts."""

    def __init__(self, engines: TokenEngines, credentials: Credentials, bodies: BodyReader) -> None:
        self._engines = engines
        self._credentials = credentials
        self._bodies = bodies

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return routes_of(self)

    @operation("POST", "/tokenize", "Get the tokens of a text or a chat", body=TokenizeBody, answer=Tokens)
    async def _tokenize(self, request: Request) -> Response:
        return await self._answer(request, check_tokenize, self._engines.tokenize)

    @operation("POST", "/detokenize", "Get the text of tokens", body=DetokenizeBody, answer=DetokenizedText)
    async def _detokenize(self, request: Request) -> Response:
        return await self._answer(request, check_detokenize, self._engines.detokenize)

    async def _answer(
        self,
        request: Request,
        check: Callable[[dict[str, Any]], str],
        ask: Callable[[str, bytes], Awaitable[bytes]],
    ) -> Response:
        headers = wanted_headers(request.scope)
        admit(headers, self._credentials)
        value = read_object(await self._bodies.read(headers, request.receive))
        name = self._engines.name_of(check(value))
        body = exact_json.write({**value, "model": name})
        return Response(await ask(name, body), media_type="application/json")
