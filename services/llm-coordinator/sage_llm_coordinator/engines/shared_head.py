"""The head that all events of a stream have in common: ``{"id":…,"model":"…",`` up to the choices.

Read once, it need not be parsed, nor written, with each event; and the model's name in it is changed as bytes. No JSON
string can hold it, since quotes in a string are escaped: where it stands, an event's object begins.
"""

from __future__ import annotations

from typing import Final

from sage_llm_coordinator.engines.stream_rewriter import AnswerEdits
from sage_mesh import exact_json

_CHOICES: Final = b'"choices"'
_KEY: Final = b'"model"'
# What stands further back is not looked for.
_HEAD_BYTES: Final = 16 * 1024
# The fields that differ between events, or between what the server sends and the caller gets.
_OF_EACH_EVENT: Final = frozenset({"usage", "error", "detail", "token_ids", "prompt_token_ids"})


class SharedHead:
    """One stream's head.

    Attributes:
        sent: as the server sends it; empty while it is unknown.
        size: its length in bytes.
        delivered: the same with the caller's name for the model.
        renames: whether these two differ.
    """

    def __init__(self, edits: AnswerEdits) -> None:
        self._edits = edits
        self._names_model = False
        self.sent = b""
        self.size = 0
        self.delivered = b""
        self.renames = edits.callers_model is not None

    def learn(self, document: bytes) -> None:
        """Take the head from an event's object, or from its beginning; nothing where it has none."""
        at = document.find(_CHOICES, 0, _HEAD_BYTES)
        if at < 1 or document[:at] == self.sent:
            return
        head = document[:at]
        try:
            # Only a key of the object itself can be followed by its end.
            top = exact_json.read(head + _CHOICES + b":0}")
            if not isinstance(top, dict) or not _OF_EACH_EVENT.isdisjoint(top) or top.get("object") == "error":
                return
            self._names_model = self._edits.rename(top)
            if self._names_model:
                self.delivered = exact_json.write(top)[: -len(_CHOICES) - len(b":0}")]
            else:
                self.delivered = head
        except ValueError:
            return
        self.sent, self.size = head, len(head)

    def rename(self, events: bytes) -> bytes | None:
        """Return events with the caller's name for the model; None where that takes parsing them."""
        if not self.renames:
            return events
        if not self._names_model:
            return None
        parts = events.split(self.sent)
        # Where the key stands anywhere besides, the name that counts may be another.
        return self.delivered.join(parts) if events.count(_KEY) == len(parts) - 1 else None

    def rename_start(self, event: bytes) -> bytes:
        """Return an event, or its first bytes, with the caller's name, where that stands before the choices."""
        if self.renames:
            self.learn(event[event.find(b"{") :][:_HEAD_BYTES])
            if self._names_model:
                return event.replace(self.sent, self.delivered, 1)
        return event
