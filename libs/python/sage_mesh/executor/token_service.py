"""``TokenService``: the tokenizers of an executor's engines, asked directly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from grpc import aio

from sage.inference.v1 import tokens_pb2, tokens_pb2_grpc
from sage_common.errors import NotFoundError, UnavailableError, UnimplementedError
from sage_mesh.engine import Engine
from sage_mesh.tokenization import TellsTokens, TokenSource


class TokenServicer(tokens_pb2_grpc.TokenServiceServicer):
    """The gRPC API.

    Args:
        engines: returns the engines by id.
    """

    def __init__(self, engines: Callable[[], Mapping[str, Engine]]) -> None:
        self._engines = engines

    async def Tokenize(  # noqa: N802 - the name in the contract
        self, request: tokens_pb2.TokenizeRequest, context: aio.ServicerContext[Any, Any]
    ) -> tokens_pb2.TokenizeResponse:
        return tokens_pb2.TokenizeResponse(body=await self._source(request.engine_id).tokenize(request.body))

    async def Detokenize(  # noqa: N802 - the name in the contract
        self, request: tokens_pb2.DetokenizeRequest, context: aio.ServicerContext[Any, Any]
    ) -> tokens_pb2.DetokenizeResponse:
        return tokens_pb2.DetokenizeResponse(body=await self._source(request.engine_id).detokenize(request.body))

    def _source(self, engine_id: str) -> TokenSource:
        engine = self._engines().get(engine_id)
        if engine is None:
            raise NotFoundError(f"no engine {engine_id[:80]!r} runs here", code="engine_not_found")
        if not isinstance(engine, TellsTokens):
            raise UnimplementedError(
                f"engines of the kind {engine.spec.implementation!r} have no tokenizer to ask", code="no_tokenizer"
            )
        source = engine.token_source
        if source is None:
            raise UnavailableError(
                f"engine {engine_id!r} is {engine.phase.name.lower()}: {engine.reason}",
                code="engine_not_ready",
                retryable=True,
            )
        return source
