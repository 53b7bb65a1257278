"""What an API is to the gateway that is served by translation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from sage_common.errors import SageError
from sage_gateway.admission import Admitted
from sage_gateway.answers_by_key import Follow
from sage_gateway.asgi import Headers, Scope
from sage_gateway.dialects.chat_delta import ChatDelta
from sage_mesh.reply import TokenUsage

# Options of sampling that chat engines know and that neither vendor's API has; clients send them as ``extra_body``.
ENGINE_OPTIONS = (
    "top_k",
    "min_p",
    "min_tokens",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "ignore_eos",
    "chat_template_kwargs",
)


class AnswerBuilder(Protocol):
    """Builds one answer in the vendor's shape from the deltas of a chat completion.

    The same calls give a stream and a document: ``begin``, ``add`` and ``end`` return the bytes of the events to send,
    and ``document`` is what they come to.
    """

    def begin(self, request_id: str, model: str) -> bytes:
        """Return the events that open a stream; ``model`` is the name to report."""
        ...

    def add(self, delta: ChatDelta) -> bytes:
        """Return the events for what the engine has added. Raises EngineFailedError for what cannot be told."""
        ...

    def end(self, usage: TokenUsage) -> bytes:
        """Return the events that close a stream; ``usage`` counts where the engine's own events did not."""
        ...

    def failed(self, error: SageError) -> bytes:
        """Return the events for an error after the stream's status was sent."""
        ...

    def document(self) -> bytes:
        """Return the whole answer; after ``end``. Raises EngineFailedError where the vendor's shape cannot hold it."""
        ...


class Translation(NamedTuple):
    """A request, translated.

    Attributes:
        body: of a chat completion.
        streaming: whether the client asked for events.
        answer: builds the answer to it.
        end: ends the answer as its ``end`` does, after what the vendor's API has to do before the client is told of the
            end.
        begun: the document to answer with at once, where the request is worked on in the background; None for others.
        told: gives the events to answer with, where it is worked on in the background and streamed; None for others.
    """

    body: bytes
    streaming: bool
    answer: AnswerBuilder
    end: Callable[[TokenUsage], Awaitable[bytes]]
    begun: bytes | None = None
    told: Follow | None = None


def end_at_once(answer: AnswerBuilder) -> Callable[[TokenUsage], Awaitable[bytes]]:
    """Return the end of an answer before which there is nothing to do."""

    async def end(usage: TokenUsage) -> bytes:
        return answer.end(usage)

    return end


class Dialect(Protocol):
    """A vendor's API.

    Attributes:
        path: HTTP path below the gateway's root.
        count_path: of the operation that counts the tokens of a request.
        name: by which its requests are counted.
    """

    path: str
    count_path: str
    name: str

    def read_headers(self, scope: Scope, headers: dict[str, str], *, key_required: bool) -> None:
        """Complete ``headers``, which the gateway goes by, from the vendor's own. Raises SageError."""
        ...

    async def translate(self, value: dict[str, Any], caller: Admitted) -> Translation:
        """Translate a parsed body.

        Raises:
            InvalidRequestError: a field has the wrong shape, or is not served; ``param`` names it.
            NotFoundError: it refers to what the caller does not have.
        """
        ...

    async def chat_to_count(self, value: dict[str, Any], tenant: str) -> dict[str, Any]:
        """Return the chat completion whose prompt is to be counted. Raises as ``translate``."""
        ...

    def counted(self, tokens: int) -> bytes:
        """Return the answer that says how many tokens there are."""
        ...

    def id_headers(self, request_id: str) -> Headers:
        """Return the headers that name a request."""
        ...

    def error(self, error: SageError, request_id: str) -> tuple[int, bytes]:
        """Return the status and the body of an error."""
        ...
