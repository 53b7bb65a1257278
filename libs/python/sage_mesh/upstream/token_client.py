"""The tokenizer of a server behind an engine: vLLM's API, or llama.cpp's, which is told apart by its answer."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from sage_common.errors import EngineFailedError, InvalidRequestError, UnimplementedError
from sage_mesh import exact_json
from sage_mesh.tokenization import tokenized
from sage_mesh.upstream.http.http_error import describe_failure
from sage_mesh.upstream.upstream import NotServingError, Upstream
from sage_mesh.upstream.upstream_errors import MAX_ERROR_BYTES, upstream_error

TOKENIZE = "/tokenize"
DETOKENIZE = "/detokenize"
# Of llama.cpp's server: what a chat becomes before it is tokenized.
_TEMPLATE = "/apply-template"
_PROPERTIES = "/props"
# What llama.cpp's template takes of a chat, and what of vLLM's request it reads in another form.
_OF_TEMPLATE = ("messages", "tools", "chat_template_kwargs", "add_generation_prompt")
_OF_TOKENS = ("model", "prompt", "add_special_tokens", "return_token_strs")
ANSWER_SECONDS = 30.0


class TokenClient:
    """Asks a server.

    Args:
        max_context_tokens: of the model, as far as it is known; 0 where it is not.
    """

    def __init__(self, engine_id: str, upstream: Upstream, max_context_tokens: int = 0) -> None:
        self._engine_id = engine_id
        self._upstream = upstream
        self._max_context_tokens = max_context_tokens

    async def tokenize(self, body: bytes) -> bytes:
        """Return the tokens of a text or a chat.

        Raises:
            UnimplementedError: the server has no such path.
            InvalidRequestError: it has, and does not know a field.
            EngineFailedError: it does not answer, or not as either server does.
        """
        answer = await self._post(TOKENIZE, body)
        value = self._object(answer, TOKENIZE)
        if "count" in value:
            return answer
        if isinstance(value.get("tokens"), list):
            return await self._tokenize_with_llamacpp(exact_json.read(body))
        raise self._misread(answer, TOKENIZE)

    async def detokenize(self, body: bytes) -> bytes:
        """Return the text of tokens. Raises as ``tokenize``."""
        answer = await self._post(DETOKENIZE, body)
        value = self._object(answer, DETOKENIZE)
        if isinstance(value.get("prompt"), str):
            return answer
        if isinstance(value.get("content"), str):
            return orjson.dumps({"prompt": value["content"]})
        raise self._misread(answer, DETOKENIZE)

    async def _tokenize_with_llamacpp(self, asked: dict[str, Any]) -> bytes:
        is_chat = "messages" in asked
        known = {*_OF_TEMPLATE, *_OF_TOKENS}
        for name, given in asked.items():
            if name not in known and given not in (None, False):
                raise InvalidRequestError(
                    f"'{name[:80]}' is not known to the server of this model, llama.cpp; leave it out",
                    code="unsupported_parameter",
                    param=name[:80],
                )
        text = await self._templated(asked) if is_chat else asked["prompt"]
        # A template writes the special tokens out; vLLM's defaults are the same.
        specials = asked.get("add_special_tokens")
        order = {
            "content": text,
            "add_special": (not is_chat) if specials is None else specials,
            "parse_special": True,
            "with_pieces": True,
        }
        answer = await self._post(TOKENIZE, orjson.dumps(order))
        try:
            pieces = self._object(answer, TOKENIZE)["tokens"]
            ids = [int(piece["id"]) for piece in pieces]
            strings = [_text(piece["piece"]) for piece in pieces]
        except (KeyError, TypeError, ValueError):
            raise self._misread(answer, TOKENIZE) from None
        return tokenized(ids, await self._context_tokens(), strings if asked.get("return_token_strs") else None)

    async def _templated(self, asked: dict[str, Any]) -> str:
        order = {name: asked[name] for name in _OF_TEMPLATE if asked.get(name) is not None}
        answer = await self._post(_TEMPLATE, exact_json.write(order))
        prompt = self._object(answer, _TEMPLATE).get("prompt")
        if not isinstance(prompt, str):
            raise self._misread(answer, _TEMPLATE)
        return prompt

    async def _context_tokens(self) -> int:
        """Return how long a conversation may be; 0 where the server does not say."""
        if self._max_context_tokens:
            return self._max_context_tokens
        try:
            status, page = await self._upstream.page(_PROPERTIES)
            settings = orjson.loads(page)["default_generation_settings"] if status == 200 else {}
            return int(settings.get("n_ctx", 0))
        except (NotServingError, KeyError, TypeError, ValueError, AttributeError):
            return 0

    async def _post(self, path: str, body: bytes) -> bytes:
        try:
            return await asyncio.wait_for(self._answer(path, body), ANSWER_SECONDS)
        except asyncio.TimeoutError:
            raise EngineFailedError(
                f"engine {self._engine_id!r} did not answer POST {path} within {ANSWER_SECONDS:g} s", retryable=True
            ) from None
        except OSError as failure:
            raise EngineFailedError(
                f"engine {self._engine_id!r}: POST {path} {describe_failure(failure)}", retryable=True
            ) from None

    async def _answer(self, path: str, body: bytes) -> bytes:
        async with self._upstream.post(path, body, {}) as response:
            if response.status == 200:
                return await response.read()
            said = await response.read_up_to(MAX_ERROR_BYTES)
        if response.status in (404, 405, 501) and b"model" not in said.lower():
            raise UnimplementedError(
                f"the server of engine {self._engine_id!r} has no {path} (HTTP {response.status})", code="no_tokenizer"
            )
        raise upstream_error(self._engine_id, response.status, said)

    def _object(self, answer: bytes, path: str) -> dict[str, Any]:
        try:
            value = orjson.loads(answer)
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            raise self._misread(answer, path)
        return value

    def _misread(self, answer: bytes, path: str) -> EngineFailedError:
        return EngineFailedError(f"engine {self._engine_id!r} answered POST {path} with {answer[:80]!r}")


def _text(piece: str | list[int]) -> str:
    """Return a piece as text; llama.cpp gives the bytes of one that is no whole character."""
    return piece if isinstance(piece, str) else bytes(piece).decode("utf-8", "replace")
