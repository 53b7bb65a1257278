"""What vLLM's ``/tokenize`` and ``/detokenize`` tell, of a model that runs here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson

from sage_common.errors import InvalidRequestError
from sage_embed_executor.models.tokenizer import TextTokenizer
from sage_mesh.tokenization import tokenized

_TOKENIZE_FIELDS = ("model", "prompt", "add_special_tokens", "return_token_strs")
_DETOKENIZE_FIELDS = ("model", "tokens")


class ModelTokens:
    """The tokens of one model. Nothing is cut, and no prompt of the model's own is put before a text."""

    def __init__(self, tokenizer: TextTokenizer, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    async def tokenize(self, body: bytes) -> bytes:
        """Return the tokens of a text. Raises InvalidRequestError; ``param`` names the field."""
        value = _known(_read(body), _TOKENIZE_FIELDS)
        specials, strings = _flag(value, "add_special_tokens", True), _flag(value, "return_token_strs", False)
        ids, texts = self._tokenizer.tell(value["prompt"], add_special_tokens=specials)
        return tokenized(ids, self._max_tokens, texts if strings else None)

    async def detokenize(self, body: bytes) -> bytes:
        """Return the text of tokens. Raises InvalidRequestError; ``param`` names the field."""
        value = _known(_read(body), _DETOKENIZE_FIELDS)
        return orjson.dumps({"prompt": self._tokenizer.text_of(value["tokens"])})


def _read(body: bytes) -> dict[str, Any]:
    try:
        value: dict[str, Any] = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # Halves of characters pass where JSON is only handed on.
        raise InvalidRequestError(f"the body is not valid JSON: {error.msg}", code="invalid_json") from None
    return value


def _known(value: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    given = {name: one for name, one in value.items() if one is not None}
    for name in given:
        if name not in names:
            raise InvalidRequestError(
                f"'{name[:80]}' is nothing that the tokens of an embedding model depend on; leave it out",
                code="unsupported_parameter",
                param=name[:80],
            )
    return given


def _flag(value: dict[str, Any], name: str, default: bool) -> bool:
    given = value.get(name, default)
    if not isinstance(given, bool):
        raise InvalidRequestError(f"'{name}' must be true or false; got {given!r}", param=name)
    return given
