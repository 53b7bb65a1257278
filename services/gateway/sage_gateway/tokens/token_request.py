"""Requests of vLLM's tokenizer API: what the gateway reads of them; the rest is the engine's to judge."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from sage_common.errors import InvalidRequestError
from sage_control_plane.request.body_fields import optional_string, wrong_field


class TokenizeBody(TypedDict, total=False):
    """Body of ``/tokenize``: a text or a chat; further fields are the engine's to judge."""

    model: str | None
    prompt: str | None
    messages: list[Any] | None


class DetokenizeBody(TypedDict):
    """Body of ``/detokenize``."""

    model: NotRequired[str | None]
    tokens: list[Annotated[int, Field(ge=0)]]


def check_tokenize(value: dict[str, Any]) -> str:
    """Check a parsed body of ``/tokenize``; return the model that it names, empty for none.

    Raises:
        InvalidRequestError: ``param`` names the field.
    """
    prompt, messages = value.get("prompt"), value.get("messages")
    if prompt is None and messages is None:
        raise InvalidRequestError(
            "'prompt' or 'messages' is needed: a string, or a chat", code="missing_required_parameter", param="prompt"
        )
    if prompt is not None and messages is not None:
        raise InvalidRequestError("'prompt' and 'messages' are two requests; send one of them", param="messages")
    if prompt is not None and not isinstance(prompt, str):
        raise wrong_field("prompt", prompt, "a string")
    if messages is not None and not isinstance(messages, list):
        raise wrong_field("messages", messages, "a list of messages")
    return optional_string(value, "model")


def check_detokenize(value: dict[str, Any]) -> str:
    """Check a parsed body of ``/detokenize``. Returns and raises as ``check_tokenize``."""
    tokens = value.get("tokens")
    if tokens is None:
        raise InvalidRequestError(
            "'tokens' is needed: a list of token ids", code="missing_required_parameter", param="tokens"
        )
    if not isinstance(tokens, list):
        raise wrong_field("tokens", tokens, "a list of token ids")
    for place, token in enumerate(tokens):
        if not isinstance(token, int) or isinstance(token, bool) or token < 0:
            raise wrong_field(f"tokens[{place}]", token, "a token id, 0 or above")
    return optional_string(value, "model")
