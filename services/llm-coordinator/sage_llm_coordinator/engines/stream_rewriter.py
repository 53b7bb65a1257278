"""Edits of a server's answer for its caller: what SAGE alone asked for goes, and the model has the name as asked.

Each event that needs an edit is parsed, edited and written again: equal as JSON, its keys in their order, unknown
fields kept. An event that needs none, or is no JSON, leaves as the bytes that it is.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sage_mesh import exact_json
from sage_mesh.openai_answer import read_usage
from sage_mesh.reply import TokenUsage
from sage_mesh.sse import SseFramer

_OPENING: Final = b"data: {"
_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
# A larger event, which holds an image or a sound, stays as it is: reading it would hold up every other stream.
MAX_READ_BYTES: Final = 1024 * 1024
_DONE: Final = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\]")
# The usage and [DONE] come last; a server may send a comment or two after them.
_LAST_PIECES: Final = 8


@dataclass(frozen=True, slots=True)
class AnswerEdits:
    """How the caller's answer differs from the server's.

    Attributes:
        model: the model's name at the server.
        callers_model: its name in the answer; None where that is the server's.
        hides_last_usage: the event at the end that has the usage and no choices was not asked for by the caller.
        hides_each_usage: the usage in every other event was not.
        hides_tokens: nor were the tokens' ids.
        as_chat: the server streams a completion and the caller gets a chat.
    """

    model: str = ""
    callers_model: str | None = None
    hides_last_usage: bool = False
    hides_each_usage: bool = False
    hides_tokens: bool = False
    as_chat: bool = False

    def rename(self, document: Any) -> bool:
        """Put the caller's name into a parsed document or event; return whether that changed it."""
        if self.callers_model is None or not isinstance(document, dict) or document.get("model") != self.model:
            return False
        document["model"] = self.callers_model
        return True


AS_SENT: Final = AnswerEdits()


class StreamRewriter:
    """One stream.

    A token that is a part of a character has no text yet; its id is given with that of the token which completes the
    character, so that the ids are always those of the text delivered.
    """

    def __init__(self, edits: AnswerEdits) -> None:
        self._edits = edits
        self._untouched = edits == AnswerEdits(edits.model)
        # Otherwise only an event with a usage needs an edit.
        self._every_event = (
            edits.hides_each_usage or edits.hides_tokens or edits.as_chat or edits.callers_model is not None
        )
        self._framer = SseFramer()
        # Of a stream that leaves untouched, which is read at its end only.
        self._last_pieces: deque[bytes] = deque(maxlen=_LAST_PIECES)
        self._done = False
        self._closing_usage: object = None
        self._usages: dict[int | None, object] = {}
        self._ids: list[int] = []
        self._ids_without_text: list[int] = []

    @property
    def done(self) -> bool:
        """Whether the stream has ended as the protocol says: with ``data: [DONE]``."""
        return self._done or any(_DONE.search(events) for events in self._last_pieces if len(events) <= MAX_READ_BYTES)

    def take(self, piece: bytes) -> bytes:
        """Take bytes as they arrive; return the whole events that the caller is to have now."""
        return b"".join(self.take_each(piece))

    def take_each(self, piece: bytes) -> list[bytes]:
        """As ``take``; where an event is large, in several pieces, of which all but the last are its own."""
        pieces = self._framer.feed_each(piece)
        if len(pieces) > 1:
            *parts, end = pieces
            last, *rest = each_event(end)
            return [*parts, last, self._rewritten(b"".join(rest))]
        return [self._rewritten(pieces[0])] if pieces else []

    def _rewritten(self, events: bytes) -> bytes:
        if self._untouched:
            if events:
                self._last_pieces.append(events)
            return events
        if events.startswith(_OPENING) and events.find(b"\n") == len(events) - 2:
            return self._one_line(events)
        return b"".join([self._event(event) for event in each_event(events)])

    def rest(self) -> bytes:
        """Return what is left at the end of a stream that ended well: an event without its blank line."""
        return b"".join([self._event(event) for event in each_event(self._framer.rest())])

    def ids(self) -> list[int]:
        """Return the ids of the text's tokens since the last call, where ``hides_tokens`` is set."""
        if not self._ids:
            return []
        ids, self._ids = self._ids, []
        return ids

    def usage(self) -> TokenUsage:
        """Return the usage as far as the server has sent it; zeros where it sent none."""
        for event in (event for events in self._last_pieces for event in each_event(events)):
            if len(event) > MAX_READ_BYTES or b'"usage"' not in event:
                continue
            chunk = _chunk_of(event)
            if chunk is not None and chunk.get("usage") is not None:
                self._note_usage(chunk.get("choices"), chunk["usage"])
        if closing := read_usage(self._closing_usage):
            return closing
        usages = [usage for value in self._usages.values() if (usage := read_usage(value))]
        return TokenUsage(
            prompt_tokens=max((usage.prompt_tokens for usage in usages), default=0),
            completion_tokens=sum(usage.completion_tokens for usage in usages),
            cached_tokens=max((usage.cached_tokens for usage in usages), default=0),
        )

    def _one_line(self, event: bytes) -> bytes:
        """Edit an event that is ``data: {…}`` and a blank line, as nearly all are."""
        if len(event) > MAX_READ_BYTES or (not self._every_event and b'"usage"' not in event):
            return event
        try:
            chunk = exact_json.read(event[len(_OPENING) - 1 :])
            changed = self._edit(chunk)
            if changed:
                return b"data: " + exact_json.write(chunk) + b"\n\n"
        except ValueError:
            return event
        return b"" if changed is None else event

    def _event(self, event: bytes) -> bytes:
        """Edit an event of several lines, or with other line ends, or another field, or one that ends the stream."""
        if len(event) > MAX_READ_BYTES:
            return event
        if _DONE.search(event):
            self._done = True
            return event
        chunk = _chunk_of(event)
        changed = False if chunk is None else self._edit(chunk)
        if not changed:
            return b"" if changed is None else event
        try:
            return _with_data(event, exact_json.write(chunk))
        except ValueError:
            return event

    def _edit(self, chunk: dict[str, Any]) -> bool | None:
        """Edit an event's object; return whether it changed, None where nothing of it is for the caller."""
        edits = self._edits
        changed = edits.callers_model is not None and edits.rename(chunk)
        if edits.as_chat and chunk.get("object") == "text_completion":
            _make_chat(chunk)
            changed = True
        silent = False
        if edits.hides_tokens:
            taken = self._take_tokens(chunk)
            silent, changed = taken is None, changed or bool(taken)
        if "usage" in chunk:
            usage = chunk["usage"]
            if usage is not None:
                choices = chunk.get("choices")
                self._note_usage(choices, usage)
                if choices == []:
                    return None if edits.hides_last_usage else changed
            # Without a value it says that the usage comes last, to who asked for that.
            if edits.hides_last_usage if usage is None else edits.hides_each_usage:
                del chunk["usage"]
                changed = True
        return None if silent else changed

    def _note_usage(self, choices: Any, usage: object) -> None:
        if not choices:
            self._closing_usage = usage
        elif isinstance(choices, list) and isinstance(choices[0], dict):
            index = choices[0].get("index")
            self._usages[index if isinstance(index, int) else None] = usage

    def _take_tokens(self, chunk: dict[str, Any]) -> bool | None:
        """Take the ids out of an event; return whether it had any, None where it was sent for them alone."""
        had_ids: bool | None = False
        choices = chunk.get("choices")
        for part in (chunk, *choices) if isinstance(choices, list) else (chunk,):
            if not isinstance(part, dict):
                continue
            if part.get("prompt_token_ids") is not None:
                part["prompt_token_ids"], had_ids = None, True
            ids = part.get("token_ids")
            if not isinstance(ids, list):
                continue
            part["token_ids"], had_ids = None, True
            self._ids_without_text += ids
            delta = part.get("delta")
            text = delta.get("content") if isinstance(delta, dict) else part.get("text")
            if text != "" and delta != {}:
                self._ids += self._ids_without_text
                self._ids_without_text = []
            elif delta == {} and part.get("finish_reason") is None:
                return None
        return had_ids


def each_event(events: bytes) -> Iterator[bytes]:
    """Cut whole events into single ones, each with the blank line that ends it; joined they are the same bytes."""
    # Where each kind of end comes next; each is looked for once over the whole.
    ends = {end: at for end in _EVENT_ENDS if (at := events.find(end)) >= 0}
    start = 0
    while ends:
        end = min(ends, key=lambda one: ends[one])
        stop = ends[end] + len(end)
        yield events[start:stop]
        start = stop
        for one in list(ends):
            if ends[one] < start:
                ends[one] = events.find(one, start)
                if ends[one] < 0:
                    del ends[one]
    if start < len(events):
        yield events[start:]


def data_of(event: bytes) -> bytes:
    """Return an event's data: its lines ``data:``, joined."""
    lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def _chunk_of(event: bytes) -> dict[str, Any] | None:
    """Return the object that is an event's data; None where that is no object."""
    try:
        chunk = exact_json.read(data_of(event))
    except ValueError:
        return None
    return chunk if isinstance(chunk, dict) else None


def _with_data(event: bytes, data: bytes) -> bytes:
    """Return an event of several lines, or with other line ends, with this as its data."""
    lines = event.splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if line.startswith(b"data:")]
    first = lines[places[0]]
    end = first[len(first.rstrip(b"\r\n")) :]
    kept = [line for number, line in enumerate(lines) if number not in places[1:]]
    kept[places[0]] = b"data: " + data + end
    return b"".join(kept)


def _make_chat(chunk: dict[str, Any]) -> None:
    """Make a completion's event a chat's: the same but for the form of its choices."""
    chunk["object"] = "chat.completion.chunk"
    choices = chunk.get("choices")
    if not isinstance(choices, list):
        return
    chunk["choices"] = [
        {
            ("delta" if name == "text" else name): ({"content": value} if name == "text" else value)
            for name, value in choice.items()
            if name != "prompt_token_ids"
        }
        if isinstance(choice, dict)
        else choice
        for choice in choices
    ]
