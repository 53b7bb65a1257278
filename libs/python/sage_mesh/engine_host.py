"""What an executor needs of an engine, and what an engine is given to answer with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sage_control_plane.engines import EnginePhase, EngineSpec
from sage_control_plane.requests import Attempt, Classification, Endpoint, Hints
from sage_mesh.reply import Media, TokenUsage


@dataclass(frozen=True, slots=True)
class EngineJob:
    """One request for an engine to run.

    Attributes:
        body: the caller's JSON, untouched.
        model: the model's name, resolved from any alias.
        waited_seconds: time since an edge accepted it, for engines that go by deadlines.
    """

    request_id: str
    endpoint: Endpoint
    body: bytes
    model: str
    tenant: str = "default"
    hints: Hints = Hints()
    classification: Classification | None = None
    attempt: Attempt = Attempt(1, 1)
    traceparent: str = ""
    waited_seconds: float = 0.0


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
    ) -> None:
        """Begin the answer.

        Args:
            continuable: of an event stream: whether an engine of this kind, given the text so far, goes on with it.
        """
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
        """Why, for people; empty when ready."""
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
