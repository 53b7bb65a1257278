"""An answer of the Responses API: its events, and the response that they come to.

Source: https://developers.openai.com/api/reference/resources/responses/streaming-events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from sage_client.error_body import error_body
from sage_common.errors import EngineFailedError, ErrorKind, SageError
from sage_gateway.dialects.chat_delta import NO_COUNTS, ChatDelta, TokenCounts
from sage_gateway.dialects.response_output import CallItem, Event, MessageItem, OutputItem, ReasoningItem, call_item
from sage_mesh import exact_json
from sage_mesh.reply import TokenUsage

# Why an answer may end before it is complete, by the engine's word for it.
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseAnswer:
    """Builds one response.

    Args:
        echo: what it says again of its request.
        now: gives the time, in seconds since 1970.
        logprobs: whether log probabilities were asked for.
    """

    def __init__(self, echo: dict[str, Any], now: Callable[[], float], *, logprobs: bool = False) -> None:
        self._echo = echo
        self._now = now
        self._logprobs = logprobs
        self._id = ""
        self._response: dict[str, Any] = {}
        self._sequence = 0
        self._items: list[OutputItem] = []
        self._is_open = False
        # By the engine's number for a call.
        self._calls: dict[int, CallItem] = {}
        self._finish_reason = ""
        self._counts = NO_COUNTS

    def begin(self, request_id: str, model: str) -> bytes:
        """Return ``response.created`` and ``response.in_progress``."""
        self._id = request_id.removeprefix("req-")
        self._response = {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": int(self._now()),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": model,
            "output": [],
            "usage": None,
            **self._echo,
        }
        response = {"response": self._response}
        return self._render([("response.created", response), ("response.in_progress", response)])

    def begin_queued(self, request_id: str, model: str) -> bytes:
        """Return ``response.created`` and ``response.queued``."""
        self.begin(request_id, model)
        self._sequence = 0
        self.mark(status="queued")
        response = {"response": self._response}
        return self._render([("response.created", response), ("response.queued", response)])

    def go_on(self, sequence: int, *, begun: bool) -> bytes:
        """Return the event that comes before more of an answer that another has begun to tell; after ``begin``.

        Args:
            sequence: of the next event.
            begun: whether ``response.in_progress`` was told.
        """
        self._sequence = sequence
        return b"" if begun else self._render([("response.in_progress", {"response": self._response})])

    def take_up(self, told: str) -> None:
        """Go on behind a text that was told; after ``go_on``."""
        sequence = self._sequence
        if told:
            self.add(ChatDelta(text=told))
        self._sequence = sequence

    def add(self, delta: ChatDelta) -> bytes:
        """Return the events for what the engine has added."""
        events: list[Event] = []
        if delta.reasoning:
            events += self._reasoning(events).add(delta.reasoning)
        if delta.text:
            logprobs = list(delta.logprobs) if self._logprobs else []
            events += self._message(events).add(delta.text, logprobs)
        if delta.refusal:
            events += self._message(events).add_refusal(delta.refusal)
        for call in delta.calls:
            item = self._calls.get(call.index)
            if item is None:
                item = self._calls[call.index] = call_item(call, self._id, len(self._items))
                self._begin_item(item, events)
            elif item is not self._items[-1]:
                raise EngineFailedError("the engine went on with a tool call after it had begun something else")
            events += item.add(call.arguments)
        self._finish_reason = delta.finish_reason or self._finish_reason
        self._counts = delta.counts or self._counts
        return self._render(events)

    def end(self, usage: TokenUsage) -> bytes:
        """Return the events that close the open item and the response."""
        return self.close(usage) + self.tell_end()

    def close(self, usage: TokenUsage) -> bytes:
        """Return the events that close the open item; the response is what it will be then."""
        if self._counts is NO_COUNTS:
            self._counts = TokenCounts(usage)
        reason = _INCOMPLETE.get(self._finish_reason)
        status = "incomplete" if reason else "completed"
        events: list[Event] = []
        self._close_item(status, events)
        self._finish(status)
        self._mark_end(reason)
        return self._render(events)

    def end_told(self, output: list[dict[str, Any]]) -> None:
        """Make of the response what another has told to its end, item by item; after ``go_on``.

        What it has cost was not told, nor why it is incomplete where it is: nearly always for its length.
        """
        incomplete = output[-1]["status"] == "incomplete"
        self._response |= {"status": output[-1]["status"], "output": output, "usage": None}
        self._mark_end(_INCOMPLETE["length"] if incomplete else None)

    def tell_end(self) -> bytes:
        """Return the event that tells of the whole response; after ``close``."""
        return self._render([(f"response.{self._response['status']}", {"response": self._response})])

    def mark(self, **fields: Any) -> None:
        """Set fields of the response; after ``begin``."""
        self._response |= fields

    def failed(self, error: SageError) -> bytes:
        """Return ``response.failed``, after what opens a stream where nothing was sent yet."""
        opened = b"" if self._response else self.begin(self._id, "")
        self.end_failed(error)
        return opened + self.tell_end()

    def end_failed(self, error: SageError) -> None:
        """Make of the response what an error has left of it, and tell nothing yet; after ``begin``, or ``close``."""
        # What broke off is told as it is, and not as if it were done: half a call is none.
        self._close_item("incomplete", [])
        self._finish("failed")
        self._response.pop("completed_at", None)
        self._response["incomplete_details"] = None
        code = "rate_limit_exceeded" if error.kind is ErrorKind.CONTENDED else "server_error"
        self._response["error"] = {"code": code, "message": _message(error)}

    @property
    def response(self) -> dict[str, Any]:
        """The response as it is now; after ``begin``."""
        return self._response

    def document(self) -> bytes:
        """Return the response."""
        return exact_json.write(self._response)

    def _reasoning(self, events: list[Event]) -> ReasoningItem:
        last = self._items[-1] if self._is_open else None
        if isinstance(last, ReasoningItem):
            return last
        item = ReasoningItem(f"rs_{self._id}_{len(self._items)}", len(self._items))
        self._begin_item(item, events)
        return item

    def _message(self, events: list[Event]) -> MessageItem:
        last = self._items[-1] if self._is_open else None
        if isinstance(last, MessageItem):
            return last
        item = MessageItem(f"msg_{self._id}_{len(self._items)}", len(self._items))
        self._begin_item(item, events)
        return item

    def _begin_item(self, item: OutputItem, events: list[Event]) -> None:
        self._close_item("completed", events)
        self._items.append(item)
        self._is_open = True
        events += item.open()

    def _close_item(self, status: str, events: list[Event]) -> None:
        if self._is_open:
            events += self._items[-1].close(status)
            self._is_open = False

    def _mark_end(self, incomplete_because: str | None) -> None:
        if incomplete_because:
            self._response["incomplete_details"] = {"reason": incomplete_because}
        else:
            self._response["completed_at"] = int(self._now())

    def _finish(self, status: str) -> None:
        output = [item.value() for item in self._items]
        self._response |= {"status": status, "output": output, "usage": _usage(self._counts)}

    def _render(self, events: list[Event]) -> bytes:
        rendered = []
        for kind, fields in events:
            value = {"type": kind, "sequence_number": self._sequence, **fields}
            self._sequence += 1
            rendered.append(b"event: " + kind.encode() + b"\ndata: " + exact_json.write(value) + b"\n\n")
        return b"".join(rendered)


def _usage(counts: TokenCounts) -> dict[str, Any]:
    usage = counts.usage
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _message(error: SageError) -> str:
    message: str = orjson.loads(error_body(error))["error"]["message"]
    return message
