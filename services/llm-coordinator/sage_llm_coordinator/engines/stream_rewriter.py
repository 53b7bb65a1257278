"""Edits of a server's answer for its caller: what SAGE alone asked for goes, and the model has the name as asked. Pure.

An event that needs an edit is parsed, edited and written again: equal as JSON, its keys in their order, unknown fields
kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sage_common.value_type import value_type
from sage_mesh.openai_answer import read_usage
from sage_mesh.reply import TokenUsage

OnPrompt = Callable[[list[int]], None]


@value_type
class AnswerEdits:
    """How the caller's answer differs from the server's.

    Attributes:
        model: the model's name at the server.
        callers_model: its name in the answer; None where that is the server's.
        hides_last_usage: the event at the end that has the usage and no choices was not asked for by the caller.
        hides_each_usage: the usage in every other event was not.
        hides_tokens: nor were the tokens' ids.
        only_prompt: those of the prompt alone are of use; the answer's cannot be matched with its text.
        hides_progress: nor were the events that say how far the prompt is computed.
        as_chat: the server streams a completion and the caller gets a chat.
    """

    model: str = ""
    callers_model: str | None = None
    hides_last_usage: bool = False
    hides_each_usage: bool = False
    hides_tokens: bool = False
    only_prompt: bool = False
    hides_progress: bool = False
    as_chat: bool = False

    @property
    def in_every_event(self) -> bool:
        """Whether every event has something that the caller is not to have as it is, besides the model's name."""
        return self.hides_each_usage or self.hides_tokens or self.as_chat

    @property
    def tells_tokens(self) -> bool:
        """Whether the ids name every token of the text."""
        return self.hides_tokens and not self.only_prompt

    def rename(self, document: Any) -> bool:
        """Put the caller's name into a parsed document or event; return whether that changed it."""
        if self.callers_model is None or not isinstance(document, dict) or document.get("model") != self.model:
            return False
        document["model"] = self.callers_model
        return True


class StreamRewriter:
    """Edits the objects of one stream's events, and keeps what they say of usage and tokens.

    A token that is a part of a character has no text yet; its id is given with that of the token which completes the
    character, so that the ids are always those of the text delivered.

    Args:
        choices: how many the request asks for.
        on_prompt: called with the ids of the prompt's tokens, where they come and are hidden.
    """

    def __init__(self, edits: AnswerEdits, choices: int = 1, on_prompt: OnPrompt | None = None) -> None:
        self._edits = edits
        self._on_prompt = on_prompt
        self._hides_tokens = edits.hides_tokens
        self._renames = edits.callers_model is not None
        self._as_chat = edits.as_chat
        self._hides_last_usage = edits.hides_last_usage
        self._hides_each_usage = edits.hides_each_usage
        self._hides_progress = edits.hides_progress
        self._prompt = TokenUsage()
        self._choices = choices
        self._closing_usages: list[object] = []
        self._usages: dict[int | None, object] = {}
        self._ids: list[int] = []
        self._ids_without_text: list[int] = []

    def ids(self) -> list[int]:
        """Return the ids of the text's tokens since the last call, where ``hides_tokens`` is set."""
        if not self._ids:
            return []
        ids, self._ids = self._ids, []
        return ids

    def prompt_usage(self) -> TokenUsage:
        """Return the prompt's tokens, and those cached, as the server said before the answer; zeros if it did not."""
        return self._prompt

    def usage(self) -> TokenUsage:
        """Return the usage as far as the server has sent it; zeros where it sent none."""
        closing = self._closing_usages
        # llama.cpp closes each of several choices with a usage of its own; others send one that is of all.
        if closing and len(closing) != self._choices:
            closing = closing[-1:]
        usages = [usage for value in closing or self._usages.values() if (usage := read_usage(value))]
        return TokenUsage(
            prompt_tokens=max((usage.prompt_tokens for usage in usages), default=0),
            completion_tokens=sum(usage.completion_tokens for usage in usages),
            cached_tokens=max((usage.cached_tokens for usage in usages), default=0),
        )

    def edit(self, chunk: dict[str, Any]) -> bool | None:
        """Edit an event's object; return whether it changed, None where nothing of it is for the caller."""
        if self._hides_progress and (progress := chunk.get("prompt_progress")) is not None:
            self._prompt = _read_progress(progress) or self._prompt
            return None
        changed = self._renames and self._edits.rename(chunk)
        if self._as_chat and chunk.get("object") == "text_completion":
            _make_chat(chunk)
            changed = True
        silent = False
        if self._hides_tokens:
            taken = self._take_tokens(chunk)
            silent, changed = taken is None, changed or bool(taken)
        if "usage" in chunk:
            usage = chunk["usage"]
            if usage is not None:
                choices = chunk.get("choices")
                self.note_usage(choices, usage)
                if choices == []:
                    return None if self._hides_last_usage else changed
            # Without a value it says that the usage comes last, to who asked for that.
            if self._hides_last_usage if usage is None else self._hides_each_usage:
                del chunk["usage"]
                changed = True
        return None if silent else changed

    def note_usage(self, choices: Any, usage: object) -> None:
        """Keep the usage of an event with these choices; a later one replaces it."""
        if not choices:
            self._closing_usages.append(usage)
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
            if (prompt := part.get("prompt_token_ids")) is not None:
                if self._on_prompt is not None and isinstance(prompt, list):
                    self._on_prompt(prompt)
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


def _read_progress(progress: object) -> TokenUsage | None:
    """Read llama.cpp's ``prompt_progress``; None where it says nothing."""
    if not isinstance(progress, dict):
        return None
    total, cached = progress.get("total"), progress.get("cache")
    if not isinstance(total, int) or not isinstance(cached, int) or not 0 <= cached <= total:
        return None
    return TokenUsage(prompt_tokens=total, cached_tokens=cached)


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
