"""Engines that tell the tokens of texts, in vLLM's shapes.

Source of the shapes: vLLM's ``/tokenize`` and ``/detokenize``,
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#tokenizer-api.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import orjson


class TokenSource(Protocol):
    """A tokenizer. Both methods take and return vLLM's JSON, and raise SageError for what cannot be answered."""

    async def tokenize(self, body: bytes) -> bytes:
        """Return the tokens of a text or a chat."""
        ...

    async def detokenize(self, body: bytes) -> bytes:
        """Return the text of tokens."""
        ...


@runtime_checkable
class TellsTokens(Protocol):
    """An engine that has a tokenizer to ask."""

    @property
    def token_source(self) -> TokenSource | None:
        """The tokenizer; None until the engine is ready."""
        ...


def tokenized(tokens: Sequence[int], max_model_len: int, token_strs: Sequence[str] | None) -> bytes:
    """Return the answer of ``/tokenize``."""
    strings = None if token_strs is None else list(token_strs)
    return orjson.dumps(
        {"count": len(tokens), "max_model_len": max_model_len, "tokens": list(tokens), "token_strs": strings}
    )
