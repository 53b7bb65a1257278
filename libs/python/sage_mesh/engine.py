"""What an executor needs of an engine, what an engine is given to run, and what it answers with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sage_common.value_type import value_type
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec
from sage_control_plane.request.request import NO_HINTS, Attempt, Classification, Endpoint, Hints
from sage_mesh.bodies.body_parts import BodyParts
from sage_mesh.inference_request import DEFAULT_TENANT
from sage_mesh.reply import Media, TokenUsage


@dataclass(frozen=True, slots=True)
class DeliveredTokens:
    """The part of an answer that its consumer has from an earlier engine, as tokens.

    Attributes:
        ids: in the model's vocabulary.
        characters: Unicode code points at the end of the prompt that they stand for.
    """

    ids: tuple[int, ...]
    characters: int


@value_type
class EngineRequest:
    """One request for an engine to run.

    Attributes:
        body: the caller's JSON, untouched; where ``parts`` travelled beside it, with marks in their place.
        model: the model's name, resolved from any alias.
        classification: None for a request that came straight to the engine's service.
        traceparent: W3C trace context; empty for none.
        waited_seconds: time since an edge accepted it, for engines that go by deadlines.
        delivered: the answer's beginning, where the body asks for its continuation and its tokens are known.
        in_one_piece: whether the consumer gets a stream as one document, so that its events may come late together.
        parts: of a body that fits no message; None where the body is whole.
    """

    request_id: str
    endpoint: Endpoint
    body: bytes
    model: str
    tenant: str = DEFAULT_TENANT
    hints: Hints = NO_HINTS
    classification: Classification | None = None
    attempt: Attempt = Attempt(1, 1)
    traceparent: str = ""
    waited_seconds: float = 0.0
    delivered: DeliveredTokens | None = None
    in_one_piece: bool = False
    parts: BodyParts | None = None

    @property
    def whole_body(self) -> bytes:
        """The caller's JSON with all its parts."""
        return self.whole(self.body)

    def whole(self, body: bytes) -> bytes:
        """Return a body that was made of this one with its parts in place of the marks."""
        return body if self.parts is None else self.parts.put_back(body)


class ReplyWriter(Protocol):
    """Where an engine writes its answer: one ``head``, then ``data`` any number of times, ``usage`` when known.

    The answer ends when the engine's ``run`` returns, or raises. An engine that streams without end of its own asks
    ``paused`` before it reads more, and waits.
    """

    @property
    def paused(self) -> bool:
        """Whether so much of the answer waits for its consumer that no more is wanted now."""
        ...

    async def until_resumed(self) -> None:
        """Wait until more is wanted."""
        ...

    def head(
        self,
        media: Media,
        *,
        model: str = "",
        vector_count: int = 0,
        vector_dimensions: int = 0,
        continuable: bool = True,
        tells_tokens: bool = False,
    ) -> None:
        """Begin the answer.

        Args:
            model: name to report; empty for that of the request.
            vector_count: vectors in the data, for vector media.
            vector_dimensions: floats in each of them.
            continuable: of an event stream: whether an engine of this kind, given the text so far, continues it.
            tells_tokens: whether ``tokens`` names every token of the text.
        """
        ...

    def tokens(self, ids: Sequence[int]) -> None:
        """Name tokens of the text that the next ``data`` completes."""
        ...

    def data(self, data: bytes) -> None:
        """Add bytes to the answer."""
        ...

    def usage(self, usage: TokenUsage) -> None:
        """Set what the answer took; a later call replaces an earlier one."""
        ...


class Engine(Protocol):
    """Something that answers requests. Its executor starts it, reads its state for each heartbeat, and stops it."""

    @property
    def spec(self) -> EngineSpec:
        """What it is; models may appear once it has started."""
        ...

    @property
    def phase(self) -> EnginePhase:
        """Where it is in its life."""
        ...

    @property
    def reason(self) -> str:
        """Why it is in that phase, for people; of a ready engine what it lacks; empty where there is nothing to say."""
        ...

    async def start(self) -> None:
        """Make ready. May take minutes; ``phase`` says how far it is."""
        ...

    async def run(self, request: EngineRequest, reply: ReplyWriter, /) -> None:
        """Answer one request. Cancelling the task stops the work.

        Raises:
            SageError: with ``retryable``, the request is tried on another engine; without, the error is the answer.
        """
        ...

    async def stop(self) -> None:
        """Release everything."""
        ...
