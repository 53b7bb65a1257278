"""The further fields of a request that the client's methods take as keywords: OpenAI's, and what engines add to them.

A name that is not here is refused before anything is sent: a misspelt ``max_token`` would be a request without a limit.
``extra_body`` takes the fields of one engine alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from sage_common.config import nearest
from sage_common.errors import InvalidRequestError


class _Common(TypedDict, total=False):
    extra_body: Mapping[str, Any] | None
    user: str | None
    priority: int | None
    truncate_prompt_tokens: int | None


class _Generation(_Common, total=False):
    max_tokens: int | None
    min_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    n: int | None
    best_of: int | None
    stop: Any
    stop_token_ids: Any
    ignore_eos: bool | None
    include_stop_str_in_output: bool | None
    skip_special_tokens: bool | None
    seed: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repetition_penalty: float | None
    logit_bias: Mapping[str, float] | None
    logprobs: Any
    stream_options: Mapping[str, Any] | None
    service_tier: str | None
    grammar: str | None
    guided_json: Any
    guided_regex: str | None
    guided_choice: Any
    structured_outputs: Mapping[str, Any] | None
    response_format: Mapping[str, Any] | None


class ChatParams(_Generation, total=False):
    """Fields of ``/v1/chat/completions`` besides messages, model and stream."""

    max_completion_tokens: int | None
    top_logprobs: int | None
    tools: Any
    tool_choice: Any
    parallel_tool_calls: bool | None
    reasoning_effort: str | None
    modalities: Any
    audio: Any
    prediction: Any
    metadata: Mapping[str, str] | None
    store: bool | None
    verbosity: str | None
    web_search_options: Any
    add_generation_prompt: bool | None
    continue_final_message: bool | None
    chat_template: str | None
    chat_template_kwargs: Mapping[str, Any] | None
    prompt_cache_key: str | None
    safety_identifier: str | None


class CompletionParams(_Generation, total=False):
    """Fields of ``/v1/completions`` besides prompt, model and stream."""

    echo: bool | None
    suffix: str | None


class EmbeddingParams(_Common, total=False):
    """Fields of ``/v1/embeddings`` besides input, model, dimensions and encoding_format."""

    input_type: str | None
    truncate: Any
    normalize: bool | None


class RerankParams(_Common, total=False):
    """Fields of ``/v1/rerank`` besides query, documents, model and top_n."""

    return_documents: bool | None
    max_chunks_per_doc: int | None


def checked(params: Mapping[str, Any], known: type) -> dict[str, Any]:
    """Return ``params`` as fields of a body, those of ``extra_body`` among them.

    Args:
        known: the TypedDict that names them.

    Raises:
        InvalidRequestError: a name that is not there; the message has the nearest one.
    """
    names = sorted(known.__annotations__)
    for name in params:
        if name not in names:
            raise InvalidRequestError(
                f"unknown keyword {name!r}{nearest(name, names)}; "
                f"a field that only one engine knows goes into extra_body={{{name!r}: …}}",
                code="unknown_parameter",
                param=name,
            )
    extra = params.get("extra_body") or {}
    return {**{name: value for name, value in params.items() if name != "extra_body"}, **extra}
