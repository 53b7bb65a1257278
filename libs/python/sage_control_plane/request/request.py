"""Requests, their classification and their attempts. Values of the enumerations are the numbers on the wire."""

from __future__ import annotations

from dataclasses import field
from enum import IntEnum
from typing import Any, Final, NamedTuple

from sage_common.value_type import value_type


class RequestKind(IntEnum):
    """Work that a request asks an engine for."""

    LLM_CHAT = 1
    LLM_GENERATE = 2
    EMBEDDING = 3
    RERANK = 4


class Endpoint(IntEnum):
    """OpenAI-compatible operation."""

    CHAT_COMPLETIONS = 1
    COMPLETIONS = 2
    EMBEDDINGS = 3
    RERANK = 4

    @property
    def path(self) -> str:
        """HTTP path below the gateway's root."""
        return _PATHS[self]


_PATHS = {
    Endpoint.CHAT_COMPLETIONS: "/v1/chat/completions",
    Endpoint.COMPLETIONS: "/v1/completions",
    Endpoint.EMBEDDINGS: "/v1/embeddings",
    Endpoint.RERANK: "/v1/rerank",
}


class ServiceClass(IntEnum):
    """Group of requests that share default targets and treatment."""

    INTERACTIVE = 1
    DEFAULT = 2
    EMBEDDING = 3
    BULK = 4


class Priority(IntEnum):
    """Urgency; a smaller number is more urgent."""

    CRITICAL = 1
    HIGH = 2
    NORMAL = 3
    LOW = 4
    BACKGROUND = 5


@value_type
class ServiceLevel:
    """Targets in milliseconds; 0 means none."""

    ttft_ms: int = 0
    tpot_ms: int = 0
    end_to_end_ms: int = 0


@value_type
class Hints:
    """Urgency asked for in request headers; None or 0 for what they do not name."""

    priority: Priority | None = None
    service_class: ServiceClass | None = None
    slo_ttft_ms: int = 0
    slo_tpot_ms: int = 0
    slo_deadline_ms: int = 0


NO_HINTS: Final = Hints()


class Route(NamedTuple):
    """What an engine must serve to take a request."""

    model: str
    kind: RequestKind


@value_type
class Classification:
    """The classifier's result for a request. See ``sage.inference.v1.Classification``.

    Attributes:
        most_output_tokens: the caller's limit on the output of all its choices; 0 where it set none.
        tokens: estimated tokens of prompt and output together.
        route: what an engine must serve to take it.
        session: hash of the caller's key for requests with a common beginning, and of who calls; 0 for none.
        generates: whether its answer is generated token by token.
        shows_beginning: whether the first byte of its answer shows when its prompt was computed. False where a
            generated answer comes in one piece: its first byte comes with its last token.
        begin_target_seconds: target for the time from arrival to the beginning of the answer, or to its end where
            nothing is streamed; None for none. The far deadline of bulk work counts as a target.
    """

    kind: RequestKind
    pool: str
    model: str
    service_class: ServiceClass
    priority: Priority
    slo: ServiceLevel
    input_tokens: int
    output_tokens: int
    prefix_blocks: tuple[int, ...] = ()
    streaming: bool = False
    sheddable: bool = False
    items: int = 1
    reasons: tuple[str, ...] = ()
    resumable: bool = False
    most_output_tokens: int = 0
    session: int = 0
    # Read many times in each decision, so computed once.
    tokens: int = field(init=False, repr=False, compare=False)
    route: Route = field(init=False, repr=False, compare=False)
    generates: bool = field(init=False, repr=False, compare=False)
    shows_beginning: bool = field(init=False, repr=False, compare=False)
    begin_target_seconds: float | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute the fields that follow from the others."""
        made: Any = self  # the one place in which fields are assigned
        kind = self.kind
        generates = kind is RequestKind.LLM_CHAT or kind is RequestKind.LLM_GENERATE
        made.tokens = self.input_tokens + self.output_tokens
        made.route = Route(self.model, kind)
        made.generates = generates
        made.shows_beginning = self.streaming or not generates
        target_ms = self.slo.ttft_ms or self.slo.end_to_end_ms
        made.begin_target_seconds = target_ms / 1000 if target_ms else None


class Attempt(NamedTuple):
    """Number of one attempt at a request; attempts are ordered by submission, then by dispatch."""

    submission: int
    dispatch: int


class TokensUsed(NamedTuple):
    """Tokens that an answer has used, as its engine counts them; None for what it does not report.

    Attributes:
        cached: tokens of the input that were in its prefix cache; 0 also where it does not report them.
    """

    input: int | None = None
    output: int | None = None
    cached: int = 0

    @property
    def recomputed(self) -> int | None:
        """Input tokens that were computed."""
        return None if self.input is None else max(0, self.input - self.cached)


NOT_COUNTED = TokensUsed()


@value_type
class FailedModel:
    """A model that could not answer a request, so that its edge went on with another.

    Attributes:
        reason: ``refusal``, ``failure`` or ``context_length``.
        code, message: of the error.
    """

    model: str
    reason: str
    code: str
    message: str


@value_type
class RoutedModel:
    """How an edge came to the model of a request whose caller used another name.

    Attributes:
        name: that the caller used.
        path: model routes from that name to the model.
        failed: models that were tried before, in order.
    """

    name: str
    path: tuple[str, ...] = ()
    failed: tuple[FailedModel, ...] = ()


@value_type
class PendingRequest:
    """A request as the scheduler queues it. Times are seconds of the scheduler's clock.

    Attributes:
        arrived_at: when the edge accepted it.
        expires_at: when it is refused with 504 if it is still queued.
        submission: number of the edge's submission.
        body_bytes: size of the body, for the bound on queued bytes.
        avoided: ids of the engines on which earlier submissions broke off.
        interrupted: whether its last attempt was stopped to give its seat to more urgent work.
        delivered_tokens: tokens of its answer that its client has from earlier engines; part of its prompt now.
        correlation_id: its caller's id for it, which others may have too; None where it gave none.
        routed: how its edge came to its model; None where its caller named that model.
        handed_over: whether a scheduler that stopped had admitted it.
    """

    request_id: str
    tenant: str
    classification: Classification
    arrived_at: float
    expires_at: float
    submission: int = 1
    body_bytes: int = 0
    avoided: frozenset[str] = frozenset()
    interrupted: bool = False
    delivered_tokens: int = 0
    correlation_id: str | None = None
    routed: RoutedModel | None = None
    handed_over: bool = False

    @property
    def was_admitted(self) -> bool:
        """Whether it was taken before, by this scheduler or the one before it. What waited there comes all at once."""
        return self.handed_over or self.submission > 1 or self.goes_on

    @property
    def goes_on(self) -> bool:
        """Whether it was running before and goes on, perhaps from a part of the answer: it is not refused any more."""
        return self.interrupted or self.delivered_tokens > 0
