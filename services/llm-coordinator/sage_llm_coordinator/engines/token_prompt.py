"""Continuing an answer from its tokens: the prompt's, as the server cuts it, and those delivered. Pure.

Text can be cut into tokens in several ways. A model that generated ``g`` ``ister`` and is asked to continue ``gister``
is given another token than its own and may go on otherwise; with its own tokens it cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sage_control_plane.request.request import Endpoint
from sage_mesh.engine import DeliveredTokens

# What a server's /tokenize takes of a chat, beside its messages.
_TEMPLATE_FIELDS = (
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
    "chat_template",
    "chat_template_kwargs",
)
# What changes a chat's prompt and /tokenize does not take; such an answer goes on from its text.
_OTHER_TEMPLATE_FIELDS = ("documents", "reasoning_effort", "tools", "media_io_kwargs", "mm_processor_kwargs")
_CHAT_FIELDS = frozenset((*_TEMPLATE_FIELDS, *_OTHER_TEMPLATE_FIELDS, "messages", "max_completion_tokens"))


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """A continuation whose prompt is to be tokens.

    Attributes:
        tokenize: what to ask ``/tokenize`` for: the prompt without the answer's beginning.
    """

    tokenize: bytes
    _request: dict[str, Any]
    _delivered: tuple[int, ...]

    def body(self, prompt_ids: Sequence[int], max_context_tokens: int) -> bytes:
        """Return the completion to ask for, given the prompt's tokens."""
        request = {name: value for name, value in self._request.items() if name not in _CHAT_FIELDS}
        limit = self._request.get("max_completion_tokens")
        prompt = [*prompt_ids, *self._delivered]
        if limit is not None:
            request["max_tokens"] = limit
        elif request.get("max_tokens") is None and "messages" in self._request:
            # A chat goes on to the end of the context, a completion for 16 tokens.
            request["max_tokens"] = max(1, max_context_tokens - len(prompt))
        return orjson.dumps({**request, "prompt": prompt})


def token_prompt(endpoint: Endpoint, body: bytes, delivered: DeliveredTokens) -> TokenPrompt | None:
    """Plan the continuation that ``body`` asks for, from tokens; None where it has to be from text.

    Args:
        body: asks for the continuation from text: its prompt, or its last message, ends with the delivered text.
    """
    request: dict[str, Any] = orjson.loads(body)
    if endpoint is Endpoint.COMPLETIONS:
        prompt = request.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str):
            return None
        asked: dict[str, Any] = {"prompt": prompt[: len(prompt) - delivered.characters]}
        if "add_special_tokens" in request:
            asked["add_special_tokens"] = request["add_special_tokens"]
    else:
        messages = _text_messages(request.get("messages"))
        if any(request.get(name) for name in _OTHER_TEMPLATE_FIELDS) or not messages:
            return None
        asked = {name: request[name] for name in _TEMPLATE_FIELDS if request.get(name) is not None}
        *before, last = messages
        begun = last["content"][: len(last["content"]) - delivered.characters]
        if begun:
            # The caller had begun the answer.
            asked["messages"] = [*before, {**last, "content": begun}]
        else:
            asked["messages"] = before
            asked.pop("continue_final_message", None)
            asked.pop("add_generation_prompt", None)
    asked["model"] = request.get("model")
    return TokenPrompt(orjson.dumps(asked), request, delivered.ids)


def read_prompt_ids(answer: bytes) -> list[int] | None:
    """Return the prompt's tokens in an answer of ``/tokenize``; None where it has none, as of another server."""
    try:
        value = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None
    ids = value.get("tokens") if isinstance(value, dict) else None
    return ids if isinstance(ids, list) and ids and all(type(one) is int for one in ids) else None


def _text_messages(messages: object) -> list[dict[str, Any]]:
    """Return the messages where each is text, otherwise none: what is not text has no tokens of its own."""
    if not isinstance(messages, list):
        return []
    texts = [message for message in messages if isinstance(message, dict) and isinstance(message.get("content"), str)]
    return texts if len(texts) == len(messages) else []
