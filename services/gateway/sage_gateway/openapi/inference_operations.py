"""The operations that are no Starlette routes: inference, and the APIs that are translated to it."""

from __future__ import annotations

from typing import Final

from sage_control_plane.request.request import Endpoint
from sage_gateway.dialects.anthropic_messages import AnthropicMessages
from sage_gateway.dialects.message_request import PASSED_ON as MESSAGE_PASSED_ON
from sage_gateway.dialects.message_request import REFUSED as MESSAGE_REFUSED
from sage_gateway.dialects.message_shapes import CountedMessage, CountedMessageBody, Message, MessageBody, MessageEvent
from sage_gateway.dialects.openai_responses import OpenAiResponses
from sage_gateway.dialects.response_request import PASSED_ON as RESPONSE_PASSED_ON
from sage_gateway.dialects.response_request import REFUSED as RESPONSE_REFUSED
from sage_gateway.dialects.response_shapes import (
    CountedInput,
    CountedResponseBody,
    ResponseBody,
    ResponseDocument,
    ResponseEvent,
)
from sage_gateway.openapi.headers import INFERENCE_HEADERS
from sage_gateway.openapi.inference_shapes import (
    ChatBody,
    ChatChunk,
    ChatCompletion,
    CompletionBody,
    EmbeddingBody,
    Embeddings,
    Ranked,
    RerankBody,
    TextCompletion,
)
from sage_gateway.openapi.operation import Operation

INFERENCE_OPERATIONS: Final = (
    Operation(
        "POST",
        Endpoint.CHAT_COMPLETIONS.path,
        "Answer a chat",
        body=ChatBody,
        answer=ChatCompletion,
        events=ChatChunk,
        query=None,
        headers=INFERENCE_HEADERS,
        is_inference=True,
    ),
    Operation(
        "POST",
        Endpoint.COMPLETIONS.path,
        "Go on with a prompt",
        body=CompletionBody,
        answer=TextCompletion,
        events=TextCompletion,
        query=None,
        headers=INFERENCE_HEADERS,
        is_inference=True,
    ),
    Operation(
        "POST",
        Endpoint.EMBEDDINGS.path,
        "Embed texts",
        body=EmbeddingBody,
        answer=Embeddings,
        query=None,
        headers=INFERENCE_HEADERS,
        is_inference=True,
    ),
    Operation(
        "POST",
        Endpoint.RERANK.path,
        "Rank documents",
        body=RerankBody,
        answer=Ranked,
        query=None,
        headers=INFERENCE_HEADERS,
        is_inference=True,
    ),
    Operation(
        "POST",
        AnthropicMessages.path,
        "Answer a conversation, by Anthropic's API",
        body=MessageBody,
        answer=Message,
        events=MessageEvent,
        query=None,
        headers=INFERENCE_HEADERS,
        is_inference=True,
        passed_on=MESSAGE_PASSED_ON,
        refused=MESSAGE_REFUSED,
        anthropic=True,
    ),
    Operation(
        "POST",
        AnthropicMessages.count_path,
        "Count the tokens of a conversation, by Anthropic's API",
        body=CountedMessageBody,
        answer=CountedMessage,
        query=None,
        headers=INFERENCE_HEADERS,
        is_inference=True,
        passed_on=MESSAGE_PASSED_ON,
        refused=MESSAGE_REFUSED,
        anthropic=True,
    ),
    Operation(
        "POST",
        OpenAiResponses.path,
        "Make a response",
        body=ResponseBody,
        answer=ResponseDocument,
        events=ResponseEvent,
        query=None,
        headers=INFERENCE_HEADERS,
        is_inference=True,
        passed_on=RESPONSE_PASSED_ON,
        refused=RESPONSE_REFUSED,
    ),
    Operation(
        "POST",
        OpenAiResponses.count_path,
        "Count the tokens of a response's input",
        body=CountedResponseBody,
        answer=CountedInput,
        query=None,
        headers=INFERENCE_HEADERS,
        is_inference=True,
        passed_on=RESPONSE_PASSED_ON,
        refused=RESPONSE_REFUSED,
    ),
)
