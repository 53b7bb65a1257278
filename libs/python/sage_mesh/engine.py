"""What an executor needs of an engine, and what an engine is given to answer with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sage_control_plane.request.engine_state import EnginePhase, EngineSpec
from sage_control_plane.request.request import Attempt, Classification, Endpoint, Hints
from sage_mesh.inference_request import DEFAULT_TENANT
from sage_mesh.reply import Media, TokenUsage


@dataclass(frozen=True, slots=True)
class DeliveredTokens:
    """What an earlier engine said, as tokens, and how many characters at the end of the prompt they stand for."""

    ids: tuple[int, ...]
    characters: int


@dataclass(frozen=True, slots=True)
class EngineJob:
    """One request for an engine to run.

    Attributes:
        body: the caller's JSON, untouched.
        model: the model's name, resolved from any alias.
        waited_seconds: time since an edge accepted it, for engines that go by deadlines.
        told: the tokens of the answer's beginning, where the body asks for its continuation and they are known.
    """

    request_id: str
    endpoint: Endpoint
    body: bytes
    model: str
    tenant: str = DEFAULT_TENANT
    hints: Hints = Hints()
    classification: Classification | None = None
    attempt: Attempt = Attempt(1, 1)
    traceparent: str = ""
    waited_seconds: float = 0.0
    told: DeliveredTokens | None = None


class ReplyWriter(Protocol):
    """Where an engine writes its answer: one ``head``, then ``data`` any number of times, ``usage`` when known.

    The answer ends when the engine's ``run`` returns, or raises.
    """

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
            continuable: of an event stream: whether an engine of this kind, given the text so far, goes on with it.
            tells_tokens: whether ``tokens`` will name every token of the text.
        """
        ...

    def tokens(self, ids: Sequence[int]) -> None:
        """Name tokens of the text that the next ``data`` completes."""
        ...

    def data(self, data: bytes) -> None:
        """Add bytes to the answer."""
        ...

    def usage(self, usage: TokenUsage) -> None:
        """Say how many tokens were used."""
        ...


class Engine(Protocol):
    """Something that answers requests. Its executor starts it, asks for its state with each heartbeat, and stops it."""

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
        """Why, for people; of a ready engine what it lacks, else empty."""
        ...

    async def start(self) -> None:
        """Make ready. May take minutes; the phase says how far it is."""
        ...

    async def run(self, job: EngineJob, reply: ReplyWriter) -> None:
        """Answer one request.

        Cancellation of the task must stop the work. A SageError with ``retryable`` asks for another engine; any
        other is the answer.
        """
        ...

    async def stop(self) -> None:
        """Release everything."""
        ...
