"""How a response goes on that another gateway has begun to tell: its events say how far it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sage_common.errors import EngineFailedError
from sage_common.logging import get_logger
from sage_control_plane.request.request import Endpoint
from sage_gateway.dialects.chat_delta import ChatDelta
from sage_gateway.responses.response_events import ITEM_DONE, ResponseEvents, ToldEvent, split_events
from sage_gateway.responses.stored_response import StoredResponse
from sage_mesh import exact_json
from sage_mesh.edge.continuation import ContinuationPlan, plan_continuation
from sage_mesh.edge.partial_answer import NotResumableError, PartialAnswer, piece_tokens
from sage_platform.fenced_log import FencedLog

log = get_logger(__name__)

_TEXT = "response.output_text.delta"
# What there is of an answer that is nothing but one text so far, beside the text.
_PLAIN = frozenset(
    {
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        _TEXT,
    }
)


class Telling:
    """Tells the events of one response, behind those that were told before.

    Attributes:
        earlier: the events before it.
    """

    def __init__(self, events: ResponseEvents, log: FencedLog, earlier: Sequence[ToldEvent], response_id: str) -> None:
        self._events = events
        self._log = log
        self._response_id = response_id
        self._has_room = True
        self.earlier = earlier

    @classmethod
    async def take_up(cls, events: ResponseEvents, stored: StoredResponse) -> Telling:
        """Read what was told of a response, to go on from there."""
        earlier: list[ToldEvent] = []
        last = 0
        async for message in events.read(stored.tenant, stored.id):
            last = message.sequence
            earlier += split_events(message.data)
        return cls(events, await events.log(stored.tenant, stored.id, last), earlier, stored.id)

    @property
    def begun(self) -> bool:
        """Whether ``response.in_progress`` was told."""
        return any(event.kind == "response.in_progress" for event in self.earlier)

    @property
    def next_number(self) -> int:
        """The number of the first event behind the earlier ones."""
        return self.earlier[-1].number + 1 if self.earlier else 0

    async def tell(self, events: bytes) -> None:
        """Tell events; without effect for none, and from the first on that there is no room for, or that is longer than
        a message: none may be missing between two others. Who follows them is told the end by what is stored of the
        response.

        Raises:
            FencedLogError: another gateway tells them now.
            nats.errors.Error, asyncio.TimeoutError: JetStream does not answer.
        """
        if not events or not self._has_room:
            return
        self._has_room = await self._events.append(self._log, events)
        if not self._has_room:
            log.warning("no room for the events of a response; it goes on without", response=self._response_id)


def told_output(events: Sequence[ToldEvent]) -> list[dict[str, Any]] | None:
    """Return the items of an answer that was told to its end; None where there may be more to come.

    The last item's end comes alone, before the answer is stored; that of another comes with what follows it.
    """
    if not events or events[-1].kind != ITEM_DONE:
        return None
    return [_value(event)["item"] for event in events if event.kind == ITEM_DONE]


def told_text(events: Sequence[ToldEvent]) -> PartialAnswer:
    """Return the text that was told.

    Raises:
        EngineFailedError: there is more than a text, which no engine can go on from.
    """
    texts: list[str] = []
    tokens = 0
    for event in events:
        if event.kind == "response.output_item.added" and _value(event)["item"]["type"] != "message":
            raise _not_resumable("it has more than a text")
        if event.kind not in _PLAIN:
            raise _not_resumable("it has more than a text, or had come to its end")
        if event.kind == _TEXT:
            delta = _value(event)
            if delta.get("logprobs"):
                raise _not_resumable("it has log probabilities, which those of the rest would replace")
            texts.append(delta["delta"])
            tokens += piece_tokens(delta["delta"])
    return PartialAnswer(text="".join(texts), tokens=tokens, role=True)


def plan_rest(chat: dict[str, Any], told: PartialAnswer) -> ContinuationPlan:
    """Return how the answer to a chat goes on after what was told. Raises EngineFailedError."""
    try:
        return plan_continuation(Endpoint.CHAT_COMPLETIONS, exact_json.write(chat), told)
    except NotResumableError as error:
        raise _not_resumable(str(error)) from None


def whole_counts(delta: ChatDelta, plan: ContinuationPlan) -> ChatDelta:
    """Return a delta of the rest, with the counts of the whole answer where it has any."""
    if delta.counts is None:
        return delta
    usage = plan.continuation.usage(delta.counts.usage)
    return replace(delta, counts=delta.counts._replace(usage=usage))


def _value(event: ToldEvent) -> dict[str, Any]:
    value: dict[str, Any] = exact_json.read(event.data.partition(b"\ndata: ")[2])
    return value


def _not_resumable(reason: str) -> EngineFailedError:
    return EngineFailedError(
        f"the gateway that made the response ended, and no other can go on with what it had told ({reason}); send the "
        "request again",
        code="response_broken_off",
    )
