"""Parses an OpenAI request body once: checks its shape, extracts its text and the few fields that SAGE needs.

The body itself is forwarded unchanged; fields that SAGE does not know are left to the engine to check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from sage_common.errors import InvalidRequestError
from sage_common.labels import MAX_MODEL_CHARACTERS
from sage_common.value_type import value_type
from sage_control_plane.request.body_fields import (
    empty_field,
    json_type,
    optional_bool,
    optional_int,
    optional_string,
    session_key,
    wrong_field,
)
from sage_control_plane.request.number_ranges import check_ranges, check_sequences
from sage_control_plane.request.request import Endpoint

# OpenAI's limit for one embeddings request.
MAX_EMBEDDING_INPUTS = 2048


@value_type
class RequestBody:
    """The fields of a body that SAGE reads.

    Attributes:
        segments: roles and texts of the whole conversation, in order; input of the feature extraction.
        given_tokens: tokens that arrived as ids rather than text.
        items: texts in an embedding or rerank request, 1 otherwise.
        max_tokens: the caller's limit on the output; None when there is none.
        structured: whether the caller asks for more than one plain text after the prompt: tools, guided decoding, log
            probabilities, several choices.
        session: what the caller names requests with a common beginning by (``prompt_cache_key``, else ``user``); empty
            where it does not.
    """

    model: str
    segments: tuple[str, ...]
    given_tokens: int
    items: int
    streaming: bool
    max_tokens: int | None
    choices: int
    structured: bool
    service_tier: str
    session: str = ""


def read_body(endpoint: Endpoint, body: bytes, *, strict: bool = False) -> RequestBody:
    """Parse and check a body.

    Args:
        strict: take no limit on the output but a positive integer, and no input to embed but text and token ids, as
            SAGE's own engines do; otherwise -1 and 256.0, images and other encodings are the engine's to judge.

    Raises:
        InvalidRequestError: not JSON, not an object, or a field of the wrong shape or out of its range; ``param`` names
            the field.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(
            f"the body is not valid JSON: {error.msg} at line {error.lineno} column {error.colno}", code="invalid_json"
        ) from None
    if not isinstance(value, dict):
        raise InvalidRequestError(f"the body is a JSON {json_type(value)}, expected an object", code="invalid_json")
    if endpoint is Endpoint.EMBEDDINGS:
        segments, given_tokens, items = _read_embedding(value, strict=strict)
    else:
        segments, given_tokens, items = _READERS[endpoint](value)
    read_limit = optional_int if strict else _lenient_limit
    max_tokens = read_limit(value, "max_completion_tokens", minimum=1)
    if max_tokens is None:
        max_tokens = read_limit(value, "max_tokens", minimum=1 if endpoint is Endpoint.CHAT_COMPLETIONS else 0)
    choices = optional_int(value, "n", minimum=1) or 1
    check_ranges(value)
    check_sequences(choices, items)
    return RequestBody(
        model=_model(value),
        segments=tuple(segments),
        given_tokens=given_tokens,
        items=items,
        streaming=optional_bool(value, "stream"),
        max_tokens=max_tokens,
        choices=choices,
        structured=choices > 1 or any(value.get(name) for name in _STRUCTURED_FIELDS),
        service_tier=optional_string(value, "service_tier"),
        session=session_key(value),
    )


_STRUCTURED_FIELDS = (
    "tools",
    "functions",
    "response_format",
    "logprobs",
    "top_logprobs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "best_of",
    "echo",
    "suffix",
    "prompt_logprobs",
    "use_beam_search",
)


def _read_chat(value: Mapping[str, Any]) -> tuple[list[str], int, int]:
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong_field("messages", messages, "a non-empty list of messages")
    segments: list[str] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise wrong_field(f"messages[{index}]", message, "an object with a role and content")
        role = message.get("role")
        if not isinstance(role, str) or not role:
            raise wrong_field(f"messages[{index}].role", role, "a string such as 'user'")
        segments.append(role)
        content = message.get("content")
        if isinstance(content, str):
            segments.append(content)
        elif isinstance(content, list):
            segments.extend(_part_texts(content, index))
        elif content is not None:
            raise wrong_field(f"messages[{index}].content", content, "a string, a list of parts, or null")
    return segments, 0, 1


def _part_texts(parts: list[Any], index: int) -> list[str]:
    texts = []
    for number, part in enumerate(parts):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise wrong_field(f"messages[{index}].content[{number}]", part, "an object with a type")
        text = part.get("text")
        if part["type"] == "text" and not isinstance(text, str):
            raise wrong_field(f"messages[{index}].content[{number}].text", text, "a string")
        if isinstance(text, str):
            texts.append(text)
    return texts


def _read_completion(value: Mapping[str, Any]) -> tuple[list[str], int, int]:
    prompt = value.get("prompt")
    if isinstance(prompt, str):
        return [prompt], 0, 1
    if isinstance(prompt, list) and prompt:
        return _read_texts(prompt, "prompt", allow_empty_text=True)
    raise wrong_field("prompt", prompt, "a string, a list of strings, or token ids")


def check_embedding(value: Mapping[str, Any]) -> None:
    """Check the parsed body of an embeddings request for an engine that takes text and token ids.

    Raises:
        InvalidRequestError: as ``read_body``, strictly.
    """
    _read_embedding(value, strict=True)


def _read_embedding(value: Mapping[str, Any], *, strict: bool) -> tuple[list[str], int, int]:
    given = value.get("input")
    encoding = value.get("encoding_format")
    if strict and encoding not in (None, "float", "base64"):
        raise wrong_field("encoding_format", encoding, "'float' or 'base64'")
    optional_int(value, "dimensions", minimum=1)
    if not strict and (inputs := _multimodal(value)):
        return _texts_within(inputs), 0, _bounded(len(inputs))
    if isinstance(given, str):
        if not given:
            raise empty_field("input")
        return [given], 0, 1
    if not isinstance(given, list):
        raise wrong_field("input", given, "a string, a list of strings, or token ids")
    if not given:
        raise empty_field("input")
    segments, tokens, items = _read_texts(given, "input", allow_empty_text=False)
    return segments, tokens, _bounded(items)


def _bounded(items: int) -> int:
    if items > MAX_EMBEDDING_INPUTS:
        raise InvalidRequestError(
            f"'input' holds {items} texts, the limit is {MAX_EMBEDDING_INPUTS}; send several requests", param="input"
        )
    return items


def _multimodal(value: Mapping[str, Any]) -> list[Any]:
    """Return the inputs of a request that holds objects, such as images, or a chat to embed; empty for any other."""
    given = value.get("input")
    if given is None and isinstance(value.get("messages"), list):
        return [value["messages"]] if value["messages"] else []
    inputs = given if isinstance(given, list) else [given]
    return inputs if any(_holds_object(one) for one in inputs) else []


def _holds_object(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value))


def _texts_within(value: Any, depth: int = 0) -> list[str]:
    """Return the texts in objects and lists, for an estimate; what is no text, or very deep, counts nothing."""
    if isinstance(value, str):
        return [value]
    if depth > _MAX_DEPTH or not isinstance(value, list | dict):
        return []
    parts = value if isinstance(value, list) else [part for name, part in value.items() if name in _TEXT_FIELDS]
    return [text for part in parts for text in _texts_within(part, depth + 1)]


# Of an object, what holds text; an image's bytes are no words.
_TEXT_FIELDS = ("text", "content", "input")
_MAX_DEPTH = 8


def _read_rerank(value: Mapping[str, Any]) -> tuple[list[str], int, int]:
    query, documents = value.get("query"), value.get("documents")
    if not isinstance(query, str) or not query:
        raise wrong_field("query", query, "a non-empty string")
    if not isinstance(documents, list) or not documents:
        raise wrong_field("documents", documents, "a non-empty list of strings")
    if len(documents) > MAX_EMBEDDING_INPUTS:
        raise InvalidRequestError(
            f"'documents' holds {len(documents)} texts, the limit is {MAX_EMBEDDING_INPUTS}; send several requests",
            param="documents",
        )
    texts = []
    for index, document in enumerate(documents):
        text = document_text(document)
        if text is None:
            raise wrong_field(f"documents[{index}]", document, "a string, or an object with a text")
        if not text:
            raise empty_field(f"documents[{index}]")
        texts.append(text)
    return [query, *texts], 0, len(texts)


def document_text(document: object) -> str | None:
    """Return the text of a document to rank: a string, or an object's field ``text``; None for anything else."""
    text = document.get("text") if isinstance(document, dict) else document
    return text if isinstance(text, str) else None


def _read_texts(values: list[Any], field: str, *, allow_empty_text: bool) -> tuple[list[str], int, int]:
    """Read strings, token ids, or lists of token ids; the first element decides which."""
    first = values[0]
    if isinstance(first, str):
        for index, text in enumerate(values):
            if not isinstance(text, str):
                raise wrong_field(f"{field}[{index}]", text, "a string like the first one")
            if not text and not allow_empty_text:
                raise empty_field(f"{field}[{index}]")
        return values, 0, len(values)
    if _is_token(first):
        _check_tokens(values, field)
        return [], len(values), 1
    if isinstance(first, list):
        for index, tokens in enumerate(values):
            if not isinstance(tokens, list):
                raise wrong_field(f"{field}[{index}]", tokens, "a list of token ids like the first one")
            if not tokens:
                raise empty_field(f"{field}[{index}]")
            _check_tokens(tokens, f"{field}[{index}]")
        return [], sum(map(len, values)), len(values)
    raise wrong_field(f"{field}[0]", first, "a string, a token id, or a list of token ids")


def _check_tokens(values: list[Any], field: str) -> None:
    for index, token in enumerate(values):
        if not _is_token(token):
            raise wrong_field(f"{field}[{index}]", token, "a token id, 0 or above")


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_READERS = {
    Endpoint.CHAT_COMPLETIONS: _read_chat,
    Endpoint.COMPLETIONS: _read_completion,
    Endpoint.RERANK: _read_rerank,
}


def _model(value: Mapping[str, Any]) -> str:
    name = optional_string(value, "model")
    if len(name) > MAX_MODEL_CHARACTERS:
        raise InvalidRequestError(
            f"'model' has {len(name)} characters, the limit is {MAX_MODEL_CHARACTERS}",
            code="model_too_long",
            param="model",
        )
    return name


def _lenient_limit(value: Mapping[str, Any], field: str, *, minimum: int) -> int | None:
    """Read a limit that an engine may take in other spellings: -1 for none, 256.0 for 256."""
    given = value.get(field)
    if given == -1 and not isinstance(given, bool):
        return None
    if isinstance(given, float) and given.is_integer():
        return optional_int({field: int(given)}, field, minimum=minimum)
    return optional_int(value, field, minimum=minimum)
