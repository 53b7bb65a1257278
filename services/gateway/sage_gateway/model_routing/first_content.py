"""Whether a stream has said anything yet: until it has, another model may begin in its stead."""

from __future__ import annotations

from typing import Any, Final

import orjson

from sage_mesh.sse import DONE, SseParser

# What of a delta, or of a choice of a completion, is no content. All else is, since engines have names of their own for
# what a model thinks, calls or draws.
_NO_CONTENT: Final = frozenset({"role", "index", "logprobs", "finish_reason"})


class FirstContent:
    """Reads the events of a chat completion's stream, or a completion's, up to the first that says something."""

    def __init__(self) -> None:
        self._parser = SseParser()

    def is_in(self, piece: bytes) -> bool:
        """Take the next bytes; return whether they hold content. What cannot be read counts as content."""
        return any(event.data != DONE and _says_something(event.data) for event in self._parser.feed(piece))


def _says_something(data: str) -> bool:
    try:
        value: Any = orjson.loads(data)
        choices = value.get("choices")
        return bool(choices) and any(_is_content(choice) for choice in choices)
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        return True


def _is_content(choice: dict[str, Any]) -> bool:
    said = choice.get("delta", choice)
    return bool(choice.get("finish_reason")) or any(given for name, given in said.items() if name not in _NO_CONTENT)
