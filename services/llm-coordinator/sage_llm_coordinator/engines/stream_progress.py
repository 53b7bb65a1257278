"""How far a server's stream has come: whether it has said anything yet, which choices are finished, how it ended.

Nothing is delivered before the first content: a comment, a chunk with a role, an empty delta or a ping are held back
until then, so that a server that fails by that time leaves its caller free to be answered by another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from sage_control_plane.request.request import Endpoint
from sage_llm_coordinator.engines.stream_rewriter import MAX_READ_BYTES, data_of, each_event
from sage_mesh import exact_json
from sage_mesh.upstream.reported_failure import ReportedFailure, read_failure

# What makes an event of a stream that has begun worth reading.
_TELLING: Final = re.compile(rb'[eE]rror|"finish_reason"\s*:\s*"|\[DONE\]')
_DONE: Final = re.compile(rb"(?:^|[\r\n])data:[ \t]*\[DONE\]")
_ERROR_TYPE: Final = re.compile(rb"(?:^|[\r\n])event:[ \t]*error[ \t]*[\r\n]")
_DATA_FIELD: Final = re.compile(rb"(?:^|[\r\n])data(?::|[\r\n])")
_SEVERAL: Final = re.compile(rb'"n"\s*:|"prompt"\s*:\s*\[')
# What is held back before the first content; beyond it the stream counts as begun.
MAX_HELD_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Progress:
    """What some events of a stream bring.

    Attributes:
        events: what the caller gets now; empty while nothing is said.
        failure: the failure that the server reports after them; None for none.
    """

    events: bytes
    failure: ReportedFailure | None = None


def choices_asked(endpoint: Endpoint, body: bytes) -> int:
    """Return how many choices a request asks for: ``n`` for each prompt. 1 where that is not understood."""
    if not _SEVERAL.search(body):
        return 1
    value = exact_json.read(body)
    each, prompt = value.get("n"), value.get("prompt")
    each = int(each) if isinstance(each, int | float) and 1 <= each < 1 << 20 else 1
    if endpoint is not Endpoint.COMPLETIONS or not isinstance(prompt, list) or not prompt:
        return each
    return each if isinstance(prompt[0], int) else each * len(prompt)


class StreamProgress:
    """One stream.

    Args:
        choices: how many the request asks for.
        delivered: whether what is taken reaches the caller at once: a refusal of the request after content is then an
            event like any other.

    Attributes:
        begun: whether there was content.
        done: whether ``[DONE]`` was sent.
        has_usage: whether a usage was sent that belongs to no choice.
    """

    def __init__(self, choices: int = 1, *, delivered: bool = True) -> None:
        self._delivered = delivered
        self._choices = choices
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._started: set[Any] = set()
        self._finished: set[Any] = set()
        self.begun = False
        self.done = False
        self.has_usage = False

    @property
    def finished(self) -> bool:
        """Whether every choice that was begun has said why it ended."""
        return bool(self._finished) and self._started <= self._finished

    @property
    def finished_all(self) -> bool:
        """Whether that holds of every choice that the request asks for."""
        return self.finished and len(self._finished) >= self._choices

    def take_large(self) -> bytes:
        """Take in that a large event comes, which is content; return what was held back before it."""
        self.begun = True
        return self._release(b"")

    def take(self, events: bytes) -> Progress:
        """Take whole events; return those that are to be delivered now, up to a failure."""
        if self.begun and self._choices == 1 and len(events) <= MAX_READ_BYTES and not _TELLING.search(events):
            return Progress(events)
        at = 0
        for event in each_event(events):
            failure = self._read(event)
            if failure is not None and not (self.begun and self._delivered and failure.is_refusal):
                return Progress(self._release(events[:at]) if self.begun else b"", failure)
            at += len(event)
        return Progress(self._release(events))

    def _release(self, events: bytes) -> bytes:
        if self.begun:
            if not self._held:
                return events
            held, self._held = b"".join(self._held), []
            return held + events
        if _DATA_FIELD.search(events):
            self._held.append(events)
            self._held_bytes += len(events)
            self.begun = self._held_bytes > MAX_HELD_BYTES
        return b""

    def _read(self, event: bytes) -> ReportedFailure | None:
        """Take in one event; return the failure that it reports."""
        if len(event) > MAX_READ_BYTES:
            self.begun = True
            return None
        if _DONE.search(event):
            self.done = True
            return None
        data = data_of(event)
        if not data.strip():
            return None
        error_event = _ERROR_TYPE.search(event) is not None
        try:
            value = exact_json.read(data)
        except ValueError:
            if error_event:
                return read_failure(data.decode("utf-8", "replace").strip(), error_event=True)
            self.begun = True
            return None
        failure = read_failure(value, error_event=error_event)
        if failure is None and isinstance(value, dict):
            self._take_chunk(value)
        return failure

    def _take_chunk(self, chunk: dict[str, Any]) -> None:
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            self.has_usage = self.has_usage or chunk.get("usage") is not None
            return
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            index = choice.get("index") or 0
            self._started.add(index)
            if choice.get("finish_reason"):
                self._finished.add(index)
                self.begun = True
            self.begun = self.begun or has_content(choice)


def has_content(choice: dict[str, Any]) -> bool:
    """Return whether a choice of a chunk says something: a text, a call of a tool, anything besides its role."""
    if choice.get("text"):
        return True
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role")
