"""Taking out of a stream the usage that its caller did not ask for, so that it has the bytes that it would have had.

Nothing is parsed on the way: inside a JSON string a quote is written ``\\"``, so ``"usage":`` is a key wherever it is.
"""

from __future__ import annotations

import re

import orjson

from sage_llm_coordinator.engines.event_cuts import each_event
from sage_llm_coordinator.engines.usage_request import UsageWish
from sage_mesh.reply import TokenUsage
from sage_mesh.sse import read_usage

_OBJECT = rb"\{(?:[^{}]|\{[^{}]*\})*\}"
_KEY = b'"usage"'
_USAGE = re.compile(rb',\s*"usage"\s*:\s*(null|' + _OBJECT + rb")")
_COMMA_KEY_BRACE = b',"usage":{'
_CHOICES = b'"choices":[{'
_EMPTY = b'"choices":[]'
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_INDEX = re.compile(rb'"index"\s*:\s*(\d+)')
_RUNNING = b'"finish_reason":null'
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')
_FINGERPRINT_KEY = b'"system_fingerprint"'
_FINGERPRINT = re.compile(rb',"system_fingerprint":"(?:[^"\\]|\\.)*"')
# After these no usage comes.
_LAST = (b"data: [DONE]", b'data: {"error"')


class UsageEvents:
    """One stream's whole events on their way to the caller.

    vLLM signs the last event of a stream with its ``system_fingerprint``: the one with the usage if there is one, else
    each choice's last. So where the former is taken out, the signature moves to the latter, which is held back for it:
    the two leave vLLM together. Where there are several choices it is known from an earlier stream, or the rest waits.

    Attributes:
        fingerprint: the signature as it stands in an event, empty where the server has none; None until known.
    """

    def __init__(self, wish: UsageWish, fingerprint: bytes | None = None) -> None:
        self._wish = wish
        self._usages: dict[bytes, bytes] = {}
        self._last = b""
        self._held: list[bytes] = []
        self._holds = wish.hides_last and not (wish.several and fingerprint is not None)
        self.fingerprint = fingerprint

    def take(self, events: bytes) -> bytes:
        """Take whole events; return those that the caller is to have now."""
        if events.count(b"\n\n") == 1 and events.endswith(b"\n\n"):
            return self._one(events)
        return b"".join(self._one(event) for event in each_event(events))

    def rest(self) -> bytes:
        """Return what is still held back, where the stream ends or breaks off."""
        held, self._held = b"".join(self._held), []
        return held

    def usage(self) -> TokenUsage | None:
        """The usage as far as the server has told it; None where it has not."""
        if self._last:
            return _read(self._last)
        told = [usage for raw in self._usages.values() if (usage := _read(raw)) is not None]
        if not told:
            return None
        return TokenUsage(
            prompt_tokens=max(usage.prompt_tokens for usage in told),
            completion_tokens=sum(usage.completion_tokens for usage in told),
            cached_tokens=max(usage.cached_tokens for usage in told),
        )

    def _one(self, event: bytes) -> bytes:
        if _KEY in event and (place := _place(event)):
            start, value, end = place
            usage = event[value:end]
            if _EMPTY in event or (_CHOICES not in event and _NO_CHOICES.search(event)):
                return self._closing(event, usage)
            if self._wish.hides_each or (self._wish.hides_last and usage == b"null"):
                if usage != b"null":
                    index = _INDEX.search(event) if self._wish.several else None
                    self._usages[index[1] if index else b""] = usage
                event = event[:start] + event[end:]
        if not self._wish.hides_last:
            return event
        if self._held:
            self._held.append(event)
            return self.rest() if event.startswith(_LAST) else b""
        if _RUNNING in event or not _FINISHED.search(event):
            return event
        if self._holds:
            self._held.append(event)
            return b""
        return self._signed(event)

    def _closing(self, event: bytes, usage: bytes) -> bytes:
        """The event with the whole usage and no choices."""
        self._last = usage
        if not self._wish.hides_last:
            return event
        signature = _FINGERPRINT.search(event)
        self.fingerprint = signature[0] if signature else b""
        self._held = [self._signed(held) for held in self._held]
        return self.rest()

    def _signed(self, event: bytes) -> bytes:
        if not self.fingerprint or _RUNNING in event or _FINGERPRINT_KEY in event or not _FINISHED.search(event):
            return event
        at = event.rfind(b"}")
        return event[:at] + self.fingerprint + event[at:]


def _place(event: bytes) -> tuple[int, int, int] | None:
    """Where an event's usage begins with its comma, where its value does, and where that ends."""
    # As vLLM writes it, and flat: two scans instead of an expression.
    start = event.rfind(_COMMA_KEY_BRACE)
    if start >= 0:
        value = start + len(_COMMA_KEY_BRACE) - 1
        end = event.find(b"}", value) + 1
        if end and event.find(b"{", value + 1, end) < 0:
            return start, value, end
    found = _USAGE.search(event)
    return (found.start(), found.start(1), found.end()) if found else None


def _read(raw: bytes) -> TokenUsage | None:
    try:
        return read_usage(orjson.loads(raw))
    except orjson.JSONDecodeError:
        return None
