"""What is asked of a server for one request, and how its answer differs from what the caller is to get. Pure.

A body is read only where it must be: with an alias for the model, or usage options of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from sage_common.errors import InvalidRequestError
from sage_common.value_type import value_type
from sage_control_plane.request.catalog import ANY_MODEL
from sage_control_plane.request.request import Endpoint
from sage_llm_coordinator.engines.known_servers import (
    CONTINUOUS_USAGE_SERVERS,
    PROGRESS_SERVERS,
    PROMPT_TOKEN_SERVERS,
    TOKEN_SERVERS,
    USAGE_SERVERS,
)
from sage_llm_coordinator.engines.stream_rewriter import AnswerEdits, OnPrompt
from sage_mesh import exact_json
from sage_mesh.engine import EngineRequest
from sage_mesh.upstream.model_field import rename_model

_OPTIONS_KEY = b'"stream_options"'
_PROGRESS_KEY = b'"return_progress"'
_TOKENS_KEY = b'"return_token_ids"'
# In an answer whose text runs behind its tokens, or holds the prompt, the two cannot be matched; and a caller who asks
# for the tokens is to see them.
_WITHOUT_TOKENS = tuple(
    b'"%b"' % field
    for field in (b"stop", b"echo", b"return_token_ids", b"truncate_prompt_tokens", b"tools", b"stream_interval")
)


@value_type
class UpstreamRequest:
    """One request to a server.

    Attributes:
        edits: what the answer goes through on its way to the caller.
        on_prompt: takes the ids of the prompt's tokens, where the server returns them; None where nobody wants them.
    """

    path: str
    body: bytes
    edits: AnswerEdits
    on_prompt: OnPrompt | None = None

    def from_tokens(self, body: bytes, endpoint: Endpoint) -> UpstreamRequest:
        """Return the same, where the answer goes on from tokens, which only a completion can."""
        edits = replace(self.edits, as_chat=endpoint is Endpoint.CHAT_COMPLETIONS)
        return UpstreamRequest(Endpoint.COMPLETIONS.path, body, edits)


class FollowsPrompts(Protocol):
    """Takes the prompts that a server has got, as tokens."""

    def on_prompt(self, model: str, texts: Sequence[int], token_ids: Sequence[int]) -> None:
        """Take in a prompt: the model that it is for, its blocks of text, and all its tokens."""
        ...


def plan_upstream_request(
    request: EngineRequest, owner: str, follower: FollowsPrompts | None = None
) -> UpstreamRequest:
    """Plan the request to the server.

    Args:
        owner: what the server calls itself in /v1/models, by which is known what it can do.
        follower: who wants the prompt's tokens; None for nobody.

    Raises:
        InvalidRequestError: the body is nested too deeply to be written again.
    """
    body, given = rename_model(request.body, request.model)
    # Who names no model gets the model's own name.
    aliased = isinstance(given, str) and given not in ANY_MODEL and given != request.model
    edits = AnswerEdits(request.model, given if aliased and isinstance(given, str) else None)
    classification, on_prompt = request.classification, None
    if classification is not None and classification.streaming and classification.generates:
        if owner in USAGE_SERVERS:
            body, edits = with_usage(body, edits, continuous=owner in CONTINUOUS_USAGE_SERVERS)
        if owner in TOKEN_SERVERS and classification.resumable:
            body, edits = with_token_ids(body, edits)
        if owner in PROMPT_TOKEN_SERVERS and follower is not None and classification.prefix_blocks:
            on_prompt = partial(follower.on_prompt, request.model, classification.prefix_blocks)
            body, edits = with_prompt_ids(body, edits)
        # What goes on: how much of it has to be computed again decides on what may be stopped.
        if owner in PROGRESS_SERVERS and request.attempt.submission > 1:
            body, edits = with_progress(body, edits)
    return UpstreamRequest(request.endpoint.path, body, edits, on_prompt)


def with_usage(body: bytes, edits: AnswerEdits, *, continuous: bool) -> tuple[bytes, AnswerEdits]:
    """Return the body that asks for the usage of a stream, and the edits that hide what of it is not the caller's.

    Args:
        body: a JSON object with ``"stream": true``, checked at the edge.
        continuous: whether the server knows ``continuous_usage_stats`` (vLLM): the usage so far in every event, so
            that a stream that is given up is counted too.

    Raises:
        InvalidRequestError: the body is nested too deeply to be written again.
    """
    if _OPTIONS_KEY not in body:
        asked = b'{"include_usage":true,"continuous_usage_stats":true}' if continuous else b'{"include_usage":true}'
        hiding = replace(edits, hides_last_usage=True, hides_each_usage=continuous)
        return _with_last_field(body, _OPTIONS_KEY, asked), hiding
    value = exact_json.read(body)
    given = value.get("stream_options")
    if given is not None and not isinstance(given, dict):
        return body, edits  # the server says what is wrong with it
    options = given or {}
    last = bool(options.get("include_usage"))
    each = last and bool(options.get("continuous_usage_stats"))
    if last and (each or not continuous):
        return body, edits
    wanted = {"include_usage": True, **({"continuous_usage_stats": True} if continuous else {})}
    value["stream_options"] = {**options, **wanted}
    try:
        body = exact_json.write(value)
    except ValueError as error:
        raise InvalidRequestError(f"the body cannot be passed on: {error}") from None
    return body, replace(edits, hides_last_usage=not last, hides_each_usage=continuous)


def with_token_ids(body: bytes, edits: AnswerEdits) -> tuple[bytes, AnswerEdits]:
    """Return the body that asks for the tokens' ids too, and the edits that hide them; both as given if of no use."""
    if any(field in body for field in _WITHOUT_TOKENS):
        return body, edits
    return _with_last_field(body, _TOKENS_KEY, b"true"), replace(edits, hides_tokens=True)


def with_prompt_ids(body: bytes, edits: AnswerEdits) -> tuple[bytes, AnswerEdits]:
    """Return the body that asks for tokens for the prompt's sake alone; as given where it asks for tokens already."""
    if edits.hides_tokens or _TOKENS_KEY in body:
        return body, edits
    return _with_last_field(body, _TOKENS_KEY, b"true"), replace(edits, hides_tokens=True, only_prompt=True)


def with_progress(body: bytes, edits: AnswerEdits) -> tuple[bytes, AnswerEdits]:
    """Return the body that asks for the progress of the prompt, and the edits that hide it; as given if it asks too."""
    if _PROGRESS_KEY in body:
        return body, edits
    return _with_last_field(body, _PROGRESS_KEY, b"true"), replace(edits, hides_progress=True)


def _with_last_field(body: bytes, key: bytes, value: bytes) -> bytes:
    opened = body.rstrip()[:-1].rstrip()
    comma = b"" if opened.endswith(b"{") else b","
    return opened + comma + key + b":" + value + b"}"


def wants_stream(request: EngineRequest) -> bool:
    """Return whether the caller asks for a stream."""
    if request.classification is not None:
        return request.classification.streaming
    return b'"stream"' in request.body and exact_json.read(request.body).get("stream") is True


def wants_usage(request: EngineRequest) -> bool:
    """Return whether the caller asks for the usage of a stream."""
    if b'"include_usage"' not in request.body:
        return False
    options = exact_json.read(request.body).get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def upstream_headers(request: EngineRequest) -> dict[str, str]:
    """Return headers by which an engine's logs and traces can be matched; an id that no header can hold is left out."""
    named = {"X-Request-Id": request.request_id, "traceparent": request.traceparent}
    return {name: value for name, value in named.items() if value and value.isascii() and value.isprintable()}
