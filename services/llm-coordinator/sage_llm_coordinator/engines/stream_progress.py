"""How far a server's stream has come: whether it has said anything yet, which choices are finished, how it ended. Pure.

Nothing is delivered before the first content: a comment, a chunk with a role, an empty delta or a ping are held back
until then, so that a server that fails by that time leaves its caller free to be answered by another.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sage_control_plane.request.request import Endpoint
from sage_mesh import exact_json

_SEVERAL: Final = re.compile(rb'"n"\s*:|"prompt"\s*:\s*\[')


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

    Attributes:
        begun: whether there was content.
        done: whether ``[DONE]`` was sent.
        has_usage: whether a usage was sent that belongs to no choice.
        complete: whether nothing more has to come: ``[DONE]`` was sent, or every choice asked for is finished.
    """

    def __init__(self, choices: int = 1) -> None:
        self._choices = choices
        self._started: set[object] = set()
        self._finished: set[object] = set()
        self.begun = False
        self.done = False
        self.has_usage = False
        self.complete = False

    @property
    def finished(self) -> bool:
        """Whether every choice that was begun has said why it ended."""
        return bool(self._finished) and self._started <= self._finished

    @property
    def all_started(self) -> bool:
        """Whether every choice that the request asks for was begun."""
        return len(self._started) >= self._choices

    def end(self) -> None:
        """Take in that ``[DONE]`` was sent."""
        self.done = self.complete = True

    def take(self, chunk: dict[str, Any]) -> None:
        """Take in the object of one event."""
        choices = chunk.get("choices")
        if not choices or not isinstance(choices, list):
            self.has_usage = self.has_usage or chunk.get("usage") is not None
            return
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            index = choice.get("index")
            if index.__class__ is not int:
                index = 0
            if index not in self._started:
                self._started.add(index)
            if choice.get("finish_reason"):
                self._finished.add(index)
                self.begun = True
                self.complete = self.done or (self.finished and len(self._finished) >= self._choices)
            elif not self.begun:
                self.begun = has_content(choice)


def has_content(choice: dict[str, Any]) -> bool:
    """Return whether a choice of a chunk says something: a text, a call of a tool, anything besides its role."""
    if choice.get("text"):
        return True
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role")
