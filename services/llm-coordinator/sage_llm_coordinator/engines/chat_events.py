"""A completion's stream as a chat's: what is sent on where a chat goes on from its tokens."""

from __future__ import annotations

import orjson

from sage_llm_coordinator.engines.event_cuts import each_event

_PREFIX = b"data: "


def chat_events(events: bytes) -> bytes:
    """Turn whole ``text_completion`` events into ``chat.completion.chunk`` events; others stay as they are."""
    return b"".join(_chat_event(event) for event in each_event(events))


def _chat_event(event: bytes) -> bytes:
    if not event.startswith(_PREFIX + b"{"):
        return event
    chunk = orjson.loads(event[len(_PREFIX) :])
    if chunk.get("object") != "text_completion":
        return event
    chunk["object"] = "chat.completion.chunk"
    for choice in chunk["choices"]:
        choice["delta"] = {"content": choice.pop("text")}
        choice.pop("prompt_token_ids", None)
    return _PREFIX + orjson.dumps(chunk) + b"\n\n"
