"""Bodies and answers of the endpoints that engines answer, as far as the mesh reads or makes them.

Bodies are forwarded as they are: what is not named here is passed on to the engine. Numbers have the ranges of
:mod:`sage_control_plane.request.number_ranges`, which the description takes from there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema
from typing_extensions import NotRequired, TypedDict

from sage_common.labels import MAX_MODEL_CHARACTERS
from sage_control_plane.request.body import MAX_EMBEDDING_INPUTS

Model = Annotated[str, Field(max_length=MAX_MODEL_CHARACTERS)]
Token = Annotated[int, Field(ge=0)]
_Filled = Annotated[str, Field(min_length=1)]
_OtherType = Annotated[str, WithJsonSchema({"type": "string", "not": {"const": "text"}})]
_Limit = Annotated[int | None, Field(ge=1)]


class TextPart(TypedDict):
    """Text of a message."""

    type: Literal["text"]
    text: str


class OtherPart(TypedDict):
    """An image or the like, for engines that take it."""

    type: _OtherType
    text: NotRequired[str]


class ChatMessage(TypedDict):
    """One message; further fields are passed on."""

    role: _Filled
    content: NotRequired[str | list[TextPart | OtherPart] | None]


class SampledBody(TypedDict, total=False):
    """What chats and completions share."""

    model: Model | None
    stream: bool | None
    n: Annotated[int | None, Field(ge=1)]
    service_tier: str | None
    temperature: Any
    top_p: Any
    seed: Any
    presence_penalty: Any
    frequency_penalty: Any
    logprobs: Any


class ChatBody(SampledBody):
    """A chat."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: NotRequired[_Limit]
    max_completion_tokens: NotRequired[_Limit]
    top_logprobs: NotRequired[Any]


class CompletionBody(SampledBody):
    """A prompt to go on with, or several of one kind."""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[Token], Field(min_length=1)]
        | Annotated[list[Annotated[list[Token], Field(min_length=1)]], Field(min_length=1)]
    )
    max_tokens: NotRequired[Annotated[int | None, Field(ge=0)]]
    best_of: NotRequired[Any]


class EmbeddingBody(TypedDict):
    """Texts or tokens to embed; other inputs, such as images, are for engines that take them."""

    input: (
        _Filled
        | Annotated[list[_Filled], Field(min_length=1, max_length=MAX_EMBEDDING_INPUTS)]
        | Annotated[list[Token], Field(min_length=1)]
        | Annotated[
            list[Annotated[list[Token], Field(min_length=1)]], Field(min_length=1, max_length=MAX_EMBEDDING_INPUTS)
        ]
    )
    model: NotRequired[Model | None]
    encoding_format: NotRequired[Literal["float", "base64"] | None]
    dimensions: NotRequired[Annotated[int | None, Field(ge=1)]]


class RankedText(TypedDict):
    """A document as an object."""

    text: _Filled


class RerankBody(TypedDict):
    """Documents to put in order for a query."""

    query: _Filled
    documents: Annotated[list[_Filled | RankedText], Field(min_length=1, max_length=MAX_EMBEDDING_INPUTS)]
    model: NotRequired[Model | None]
    top_n: NotRequired[Any]


class Usage(TypedDict):
    """Tokens that a request took."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: NotRequired[int | None]


class ChatChoice(TypedDict):
    """One answer."""

    index: int
    message: dict[str, Any]
    finish_reason: str | None


class ChatCompletion(TypedDict):
    """An answer to a chat, as the engine gives it."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: NotRequired[Usage | None]


class ChatChunk(TypedDict):
    """An event of an answer to a chat; the last event of a stream is ``[DONE]``."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[dict[str, Any]]


class TextChoice(TypedDict):
    """One text."""

    index: int
    text: str
    finish_reason: str | None


class TextCompletion(TypedDict):
    """A text that goes on with a prompt, whole or as an event of a stream, whose last event is ``[DONE]``."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: NotRequired[Usage | None]


class Embedding(TypedDict):
    """One vector; in base64 its numbers are 32-bit floats, little-endian."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Embeddings(TypedDict):
    """A vector for each input, in their order."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class RankedDocument(TypedDict):
    """A document's place; ``index`` is that in the request."""

    index: int
    relevance_score: float


class Ranked(TypedDict):
    """Documents, best first."""

    results: list[RankedDocument]
