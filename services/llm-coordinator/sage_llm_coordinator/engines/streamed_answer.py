"""A server's stream on its way to the caller: cut at events, without the usage that only SAGE asked for."""

from __future__ import annotations

from sage_llm_coordinator.engines.chat_events import chat_events
from sage_llm_coordinator.engines.exchange import Exchange
from sage_llm_coordinator.engines.token_events import TokenEvents
from sage_llm_coordinator.engines.usage_events import UsageEvents
from sage_llm_coordinator.engines.usage_scan import StreamTail
from sage_mesh.reply import TokenUsage
from sage_mesh.sse import SseFramer


class StreamedAnswer:
    """One stream. A token's event costs a few scans of its bytes and is never parsed.

    Args:
        exchange: says what the caller is not to see.
        fingerprint: of the server, where an earlier stream has told it.
    """

    def __init__(self, exchange: Exchange, fingerprint: bytes | None) -> None:
        self._whole = SseFramer()
        self._tail = StreamTail()
        self._names = exchange.names
        self._as_chat = exchange.as_chat
        self._tokens = TokenEvents() if exchange.tokens else None
        self._known = fingerprint
        self._private = UsageEvents(exchange.usage, fingerprint) if exchange.usage.hides else None

    @property
    def done(self) -> bool:
        """Whether the stream has ended as the protocol says: with ``data: [DONE]``."""
        return self._tail.done

    @property
    def fingerprint(self) -> bytes | None:
        """The server's signature, as far as this stream or an earlier one has told it."""
        return self._known if self._private is None else self._private.fingerprint

    def take(self, piece: bytes) -> bytes:
        """Take bytes as they come; return the events that the caller is to have now."""
        self._tail.take(piece)
        events = self._whole.feed(piece)
        return self._shown(events) if events else b""

    def held(self) -> bytes:
        """Return the whole events that are still held back, where the stream ends or breaks off."""
        return self._names.in_events(self._private.rest()) if self._private else b""

    def rest(self) -> bytes:
        """Return what is left at the end of a stream that ended well: an event without its end."""
        return self._names.in_events(self._whole.rest())

    def usage(self) -> TokenUsage:
        """What the server has told so far; zeros where it told nothing."""
        told = self._private.usage() if self._private else None
        return told or self._tail.usage()

    def ids(self) -> list[int]:
        """The tokens of the text since the last call, where the server was asked for them."""
        return self._tokens.ids() if self._tokens else []

    def _shown(self, events: bytes) -> bytes:
        if self._as_chat:
            events = chat_events(events)
        if self._tokens is not None:
            events = self._tokens.take(events)
        if self._private is not None and events:
            events = self._private.take(events)
        return self._names.in_events(events) if self._names.engines else events
