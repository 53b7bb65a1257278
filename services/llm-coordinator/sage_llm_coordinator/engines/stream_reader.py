"""Reads a server's stream: frames its events once, parses each at most once, and says what of it leaves for the caller.

What the events say of the stream's progress and of failures, and what is edited in them, comes from that one reading.
An event that is needed for neither, or is no JSON, leaves as the bytes that it is.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from sage_llm_coordinator.engines.shared_head import SharedHead
from sage_llm_coordinator.engines.stream_events import data_of, each_event, first_end, with_data
from sage_llm_coordinator.engines.stream_progress import StreamProgress
from sage_llm_coordinator.engines.stream_rewriter import AnswerEdits, OnPrompt, StreamRewriter
from sage_mesh import exact_json
from sage_mesh.reply import TokenUsage
from sage_mesh.sse import DONE_EVENT, SseFramer
from sage_mesh.upstream.reported_failure import ReportedFailure, read_failure

_FIELD: Final = b"data: "
_END: Final = b"\n\n"
_BETWEEN: Final = _END + _FIELD
_DONE: Final = b"[DONE]"
# A larger event, which holds an image or a sound, stays as it is: reading it would hold up every other stream.
MAX_READ_BYTES: Final = 1024 * 1024
# What is held back before the first content; beyond it the stream counts as begun.
MAX_HELD_BYTES: Final = 1024 * 1024
# Marks in events that need not be parsed. Inside a JSON string the quotes would be escaped.
_RUNNING: Final = b'"finish_reason":null'
_RUNNING_SPACED: Final = b'"finish_reason": null'
_FINISHED: Final = re.compile(rb'"finish_reason"\s*:\s*"')
_USAGE: Final = b'"usage"'
_ERROR: Final = b"error"
_ERROR_TYPE: Final = re.compile(rb"(?:^|[\r\n])event:[ \t]*error[ \t]*[\r\n]")
_DATA_FIELD: Final = re.compile(rb"(?:^|[\r\n])data(?::|[\r\n])")
# Of several choices, each has a usage of its own in one of the last events.
_LAST_PIECES: Final = 8
# The longest end of an event, less a byte: what of it may lie in the piece before.
_OVERLAP: Final = 3


class StreamReader:
    """One stream.

    Args:
        choices: how many the request asks for.
        delivered: whether what is read reaches the caller at once: a refusal of the request after content is then an
            event like any other.
        on_chunk: called with the object of every event; None reads only the events that need it.
        on_prompt: see ``StreamRewriter``.

    Attributes:
        progress: how far it has come.
        failure: what the server has reported; None while it has reported none. Nothing is read after it.
    """

    def __init__(
        self,
        edits: AnswerEdits,
        choices: int = 1,
        *,
        delivered: bool = True,
        on_chunk: Callable[[dict[str, Any]], None] | None = None,
        on_prompt: OnPrompt | None = None,
    ) -> None:
        self.progress = StreamProgress(choices)
        self.failure: ReportedFailure | None = None
        self._delivered = delivered
        self._several = choices > 1
        self._on_chunk = on_chunk
        self._framer = SseFramer()
        self._rewriter = StreamRewriter(edits, choices, on_prompt)
        self._in_every_event = edits.in_every_event or on_chunk is not None
        self._hides_usage = edits.hides_last_usage
        self._head = SharedHead(edits)
        # An event that becomes another kind's, or is folded, is parsed with its head.
        self._parses_heads = edits.as_chat or on_chunk is not None
        self._held: list[bytes] = []
        self._held_bytes = 0
        # Whether events may leave unread, and the last that did.
        self._passes = False
        self._unread: deque[bytes] = deque(maxlen=_LAST_PIECES if self._several else 1)

    def take(self, piece: bytes) -> list[bytes]:
        """Take bytes as they arrive; return the events that the caller is to have now, up to a failure.

        Returns:
            Whole events joined; a large event in several pieces.
        """
        whole = self._framer.feed_each(piece)
        if not whole:
            return whole
        if len(whole) > 1:
            return self._take_large(whole)
        events = whole[0]
        if self._passes:
            sent = self._as_it_is(events)
            if sent is not None:
                self._unread.append(events)
                whole[0] = sent
                return whole
        sent = self._read_each(events)
        return [sent] if sent else []

    def end(self) -> bytes:
        """Take in that the stream has ended, which ends its last event, too; return what the caller is to have."""
        rest = self._framer.rest().rstrip(b"\r\n")
        sent = self._read_each(rest + _END) if rest else b""
        self._settle()
        return sent

    def ids(self) -> list[int]:
        """Return the ids of the text's tokens since the last call, where the edits hide them."""
        return self._rewriter.ids()

    def prompt_usage(self) -> TokenUsage:
        """Return the prompt's tokens, and those cached, as the server said before the answer; zeros if it did not."""
        return self._rewriter.prompt_usage()

    def usage(self) -> TokenUsage:
        """Return the usage as far as the server has sent it; zeros where it sent none."""
        self._settle()
        return self._rewriter.usage()

    def _as_it_is(self, events: bytes) -> bytes | None:
        """Return one or more events as they leave unread; None where they have to be read.

        Of one choice the end is looked for in the last event only, since no text of it follows; where some does all
        the same, ``_settle`` finds it.
        """
        find = events.find
        last = events.rfind(b"\n", 0, -4) + 1
        if (find(_RUNNING, last) < 0 and find(_RUNNING_SPACED, last) < 0) or find(_ERROR) >= 0:
            return None
        if (self._hides_usage and find(_USAGE) >= 0) or (self._several and _FINISHED.search(events)):
            return None
        return self._head.rename(events)

    def _take_large(self, whole: list[bytes]) -> list[bytes]:
        self.progress.begun = True
        *parts, end = whole
        before = parts[-1][-_OVERLAP:]
        cut = first_end(before + end) - len(before)
        parts[0] = self._head.rename_start(parts[0])
        held, self._held = self._held, []
        rest = self._read_each(end[cut:])
        return [*held, *parts, end[:cut], *([rest] if rest else ())]

    def _read_each(self, events: bytes) -> bytes:
        """Read whole events; return what the caller is to have of them now."""
        sent: list[bytes] = []
        # Before content every event is looked at, later those that may report a failure.
        suspect = not self.progress.begun or events.find(_ERROR) >= 0
        if events.startswith(_FIELD) and events.endswith(_END):
            passed = self._passes
            documents = events[len(_FIELD) : -len(_END)].split(_BETWEEN)
            for place, document in enumerate(documents, 1):
                if self._read_document(document, sent, suspect=suspect):
                    break
                if self._passes and not passed:
                    passed = True
                    if self._pass_on(documents[place:], sent):
                        break
        else:
            self._read_others(events, sent)
        progress = self.progress
        if not progress.begun and self.failure is None:
            self._held += sent
            self._held_bytes += sum(map(len, sent))
            sent = []
            progress.begun = self._held_bytes > MAX_HELD_BYTES
        if not progress.begun:
            return b""
        if self._held:
            sent[:0] = self._held
            self._held = []
        return b"".join(sent)

    def _pass_on(self, documents: list[bytes], sent: list[bytes]) -> bool:
        """Let the rest of a piece leave unread where it can; return whether it did."""
        rest = _BETWEEN.join(documents)
        as_it_is = self._as_it_is(rest)
        if as_it_is is None:
            return False
        self._unread.append(_FIELD + rest + _END)
        sent += (_FIELD, as_it_is, _END)
        return True

    def _read_document(self, document: bytes, sent: list[bytes], *, suspect: bool) -> bool:
        """Read an event of one line, by its data; return whether it reports a failure, which ends the reading."""
        if document == _DONE:
            self.progress.end()
            sent.append(DONE_EVENT)
            return False
        if self._passes and (as_it_is := self._as_it_is(document)) is not None:
            sent += (_FIELD, as_it_is, _END)
            return False
        if len(document) > MAX_READ_BYTES:
            return self._read_others(_FIELD + document + _END, sent)
        head = self._head
        begins = head.size if head.size and not suspect and document.startswith(head.sent) else 0
        try:
            chunk = exact_json.read(b"{" + document[begins:] if begins else document)
        except ValueError:
            chunk = None
        if chunk.__class__ is not dict:
            return self._read_others(_FIELD + document + _END, sent)
        if suspect and self._fails(chunk):
            return True
        if not begins and not self._parses_heads:
            head.learn(document)
        changed = self._take(chunk)
        if changed is None:
            return False
        if not changed:
            rest = document[begins:]
        else:
            try:
                rest = exact_json.write(chunk)
                rest = rest[1:] if begins else rest
            except ValueError:
                rest = document[begins:]  # nested too deeply
        sent += (_FIELD, head.delivered, rest, _END) if begins else (_FIELD, rest, _END)
        return False

    def _read_others(self, events: bytes, sent: list[bytes]) -> bool:
        """Read events of several lines, or with other line ends, or another field; return as ``_read_document``."""
        for event in each_event(events):
            kept = self._read_event(event)
            if self.failure is not None:
                return True
            if kept and (self.progress.begun or _DATA_FIELD.search(kept)):
                sent.append(kept)
        return False

    def _read_event(self, event: bytes) -> bytes:
        """Read one event of any form; return what the caller is to have of it."""
        if len(event) > MAX_READ_BYTES:
            self.progress.begun = True
            return self._head.rename_start(event)
        data = data_of(event).strip()
        if data == _DONE:
            self.progress.end()
        if not data or data == _DONE:
            return event
        if self._passes and (as_it_is := self._as_it_is(event)) is not None:
            return as_it_is
        error_event = _ERROR_TYPE.search(event) is not None
        try:
            chunk = exact_json.read(data)
        except ValueError:
            if not (error_event and self._fails(data.decode("utf-8", "replace"), error_event=True)):
                self.progress.begun = True
            return event
        if self._fails(chunk, error_event=error_event) or not isinstance(chunk, dict):
            return event
        changed = self._take(chunk)
        try:
            return with_data(event, exact_json.write(chunk)) if changed else event if changed is not None else b""
        except ValueError:
            return event

    def _fails(self, value: Any, *, error_event: bool = False) -> bool:
        """Return whether an event reports a failure that ends the stream."""
        failure = read_failure(value, error_event=error_event)
        if failure is None or (self.progress.begun and self._delivered and failure.is_refusal):
            return False
        self.failure = failure
        return True

    def _take(self, chunk: dict[str, Any]) -> bool | None:
        """Take in an event's object; return as ``StreamRewriter.edit``."""
        progress = self.progress
        progress.take(chunk)
        if not (self._in_every_event or self._passes):
            self._passes = progress.begun and (not self._several or progress.all_started)
        if self._on_chunk is not None:
            self._on_chunk(chunk)
        return self._rewriter.edit(chunk)

    def _settle(self) -> None:
        """Read the last events that left unread, for their usage, and for an end that text followed."""
        for events in self._unread:
            if _tells(events):
                for event in filter(_tells, each_event(events)):
                    self._settle_event(event)
        self._unread.clear()

    def _settle_event(self, event: bytes) -> None:
        try:
            chunk = exact_json.read(data_of(event))
        except ValueError:
            return
        if isinstance(chunk, dict):
            self.progress.take(chunk)
            if chunk.get("usage") is not None:
                self._rewriter.note_usage(chunk.get("choices"), chunk["usage"])


def _tells(events: bytes) -> bool:
    """Return whether events say why a choice ended, or what was used."""
    return events.find(_USAGE) >= 0 or _FINISHED.search(events) is not None
