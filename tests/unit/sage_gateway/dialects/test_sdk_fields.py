"""Every field that OpenAI's and Anthropic's clients can send is honoured, passed on, or refused by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import anthropic.types.beta.message_count_tokens_params as beta_count
import anthropic.types.beta.message_create_params as beta_messages
import anthropic.types.message_count_tokens_params as count
import anthropic.types.message_create_params as messages
import openai.types.batch_create_params as batches
import openai.types.chat.completion_create_params as chats
import openai.types.completion_create_params as completions
import openai.types.embedding_create_params as embeddings
import openai.types.file_create_params as files
import openai.types.responses.input_token_count_params as response_count
import openai.types.responses.response_create_params as responses
import orjson
import pytest
from fixtures.mesh import Mesh

from sage_common.errors import InvalidRequestError
from sage_control_plane.request.body import read_body
from sage_control_plane.request.request import Endpoint
from sage_gateway.batches.batch_orders import BatchOrderBody, read_batch_order
from sage_gateway.dialects.message_request import PASSED_ON as MESSAGE_PASSED_ON
from sage_gateway.dialects.message_request import REFUSED as MESSAGE_REFUSED
from sage_gateway.dialects.message_request import read_message_request
from sage_gateway.dialects.message_shapes import MessageBody
from sage_gateway.dialects.response_request import PASSED_ON as RESPONSE_PASSED_ON
from sage_gateway.dialects.response_request import REFUSED as RESPONSE_REFUSED
from sage_gateway.dialects.response_request import read_response_request
from sage_gateway.dialects.response_shapes import ResponseBody
from sage_gateway.files.upload_orders import read_upload_order
from sage_llm_coordinator.engines.extractive_request import read_request as read_extractive

# Sent as headers by Anthropic's client.
HEADERS = {"betas", "user_profile_id", "workspace_id"}
# Refused with the code that has Anthropic's client send the whole conversation.
REFUSED_BY_A_CODE_OF_ITS_OWN = {"thread"}


def fields_of(*kinds: type) -> set[str]:
    """Return the names of the fields of typed dictionaries, which are those of their bases too."""
    return {name for kind in kinds for name in kind.__annotations__}


MESSAGE_FIELDS = fields_of(
    messages.MessageCreateParamsNonStreaming,
    messages.MessageCreateParamsStreaming,
    beta_messages.MessageCreateParamsNonStreaming,
    beta_messages.MessageCreateParamsStreaming,
    count.MessageCountTokensParams,
    beta_count.MessageCountTokensParams,
)
RESPONSE_FIELDS = fields_of(
    responses.ResponseCreateParamsNonStreaming,
    responses.ResponseCreateParamsStreaming,
    response_count.InputTokenCountParams,
)
CHAT_FIELDS = fields_of(chats.CompletionCreateParamsNonStreaming, chats.CompletionCreateParamsStreaming)
COMPLETION_FIELDS = fields_of(
    completions.CompletionCreateParamsNonStreaming, completions.CompletionCreateParamsStreaming
)
EMBEDDING_FIELDS = fields_of(embeddings.EmbeddingCreateParams)
CHAT = {"model": "sage-extractive", "messages": [{"role": "user", "content": "hi"}]}
MESSAGE = {**CHAT, "max_tokens": 5}
RESPONSE = {"model": "m", "input": "hi"}


def code_of(read: Callable[[dict[str, Any]], object], body: dict[str, Any]) -> str:
    try:
        read(body)
    except InvalidRequestError as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("fields", "kind", "passed_on", "refused", "read", "body"),
    [
        (MESSAGE_FIELDS, MessageBody, MESSAGE_PASSED_ON, MESSAGE_REFUSED, read_message_request, MESSAGE),
        (RESPONSE_FIELDS, ResponseBody, RESPONSE_PASSED_ON, RESPONSE_REFUSED, read_response_request, RESPONSE),
    ],
)
def test_each_field_of_a_translated_api_is_in_one_of_three_lists(
    fields: set[str],
    kind: type,
    passed_on: tuple[str, ...],
    refused: Mapping[str, str],
    read: Callable[[dict[str, Any]], object],
    body: dict[str, Any],
) -> None:
    honoured = fields_of(kind)
    assert len(fields) > 20
    assert fields - HEADERS <= honoured | set(passed_on) | refused.keys() | REFUSED_BY_A_CODE_OF_ITS_OWN
    assert not (honoured | set(passed_on)) & refused.keys()
    for name in fields - body.keys() - HEADERS:
        code = code_of(read, {**body, name: "something"})
        assert code != "unknown_parameter", name
        if name in refused:
            assert code == "unsupported_parameter", name
        # Null is absent.
        assert read({**body, name: None}) == read(body), name


def test_each_field_of_a_batch_and_of_a_file_is_read() -> None:
    assert fields_of(batches.BatchCreateParams) == fields_of(BatchOrderBody)
    order = {"input_file_id": "f", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    paths = ["/v1/embeddings"]
    for name in ("metadata", "output_expires_after"):
        assert read_batch_order({**order, name: None}, paths) == read_batch_order(order, paths)
    assert fields_of(files.FileCreateParams) == {"file", "purpose", "expires_after"}
    sent = {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    assert read_upload_order(sent).lifetime_seconds == 3600


@pytest.mark.parametrize(
    ("path", "fields", "body"),
    [
        ("/v1/chat/completions", CHAT_FIELDS, {"messages": CHAT["messages"]}),
        ("/v1/completions", COMPLETION_FIELDS, {"prompt": "hi"}),
        ("/v1/embeddings", EMBEDDING_FIELDS, {"input": "hi", "model": "fake-embed"}),
    ],
)
async def test_fields_of_what_engines_answer_reach_the_engine_as_they_were_sent(
    mesh: Mesh, http: aiohttp.ClientSession, path: str, fields: set[str], body: dict[str, Any]
) -> None:
    """One by one, and as null: what the mesh reads of them it leaves in its place."""
    values = {"n": 1, "max_tokens": 3, "max_completion_tokens": 3, "dimensions": 4, "service_tier": "auto"}
    for name in sorted(fields - body.keys() - {"model", "stream"}):
        for value in (values.get(name, 1 if name in ("best_of", "top_logprobs") else 0.5), None):
            sent = orjson.dumps({**body, name: value})
            async with http.post(path, data=sent, headers={"content-type": "application/json"}) as response:
                assert response.status == 200, (name, await response.text())
            assert mesh.engine.jobs[-1].body == sent, name


@pytest.mark.parametrize(
    ("endpoint", "fields", "body"),
    [
        (Endpoint.CHAT_COMPLETIONS, CHAT_FIELDS, CHAT),
        (Endpoint.COMPLETIONS, COMPLETION_FIELDS, {"prompt": "hi"}),
    ],
)
def test_null_is_absent_to_the_mesh_and_to_the_engine_that_quotes(
    endpoint: Endpoint, fields: set[str], body: dict[str, Any]
) -> None:
    plain = orjson.dumps(body)
    for name in fields - body.keys():
        with_null = orjson.dumps({**body, name: None})
        assert read_body(endpoint, with_null) == read_body(endpoint, plain), name
        assert read_extractive(endpoint, with_null) == read_extractive(endpoint, plain), name
