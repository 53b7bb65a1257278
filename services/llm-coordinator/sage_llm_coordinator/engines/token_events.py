"""Taking the tokens out of a stream that only SAGE asked for (``return_token_ids``). Nothing but the ids is parsed."""

from __future__ import annotations

import re

import orjson

from sage_llm_coordinator.engines.event_cuts import each_event

# In an answer whose text runs behind its tokens, or holds the prompt, the two cannot be matched; and a caller who asks
# for the tokens is to see them.
_UNFIT = re.compile(rb'"(?:stop|echo|return_token_ids|truncate_prompt_tokens|tools|stream_interval)"')
_IDS = b'"token_ids":['
_PROMPT_IDS = re.compile(rb'"prompt_token_ids":\[[^\]]*\]')
_NO_TEXT = (b'"content":""', b'"text":""', b'"delta":{}')
_SILENT = b'"delta":{}'
_RUNNING = b'"finish_reason":null'


def with_token_ids(body: bytes) -> bytes:
    """Return the body that asks for the tokens too; the very same bytes where they would be of no use."""
    if _UNFIT.search(body):
        return body
    return body.rstrip()[:-1].rstrip() + b',"return_token_ids":true}'


class TokenEvents:
    """One stream's whole events on their way to the caller, and the tokens in them.

    A token that is a part of a character has no text yet; it is named with the token that completes the character, so
    that the tokens named are those of the text told, wherever the stream breaks off.
    """

    def __init__(self) -> None:
        self._without_text: list[int] = []
        self._ids: list[int] = []

    def take(self, events: bytes) -> bytes:
        """Take whole events; return them as they would be had nobody asked for tokens."""
        if events.count(b"\n\n") == 1 and events.endswith(b"\n\n"):
            return self._one(events)
        return b"".join(self._one(event) for event in each_event(events))

    def ids(self) -> list[int]:
        """The tokens of the text since the last call."""
        ids, self._ids = self._ids, []
        return ids

    def _one(self, event: bytes) -> bytes:
        start = event.rfind(_IDS)
        if start >= 0:
            value = start + len(_IDS) - 1
            end = event.find(b"]", value) + 1
            self._without_text += orjson.loads(event[value:end])
            event = event[:value] + b"null" + event[end:]
            if not any(nothing in event for nothing in _NO_TEXT):
                self._ids += self._without_text
                self._without_text = []
            elif _SILENT in event and _RUNNING in event:
                # Sent for its tokens alone.
                return b""
        if b'"prompt_token_ids":[' in event:
            event = _PROMPT_IDS.sub(b'"prompt_token_ids":null', event)
        return event
