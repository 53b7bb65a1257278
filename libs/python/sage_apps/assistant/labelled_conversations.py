"""Conversations about the handbook, with what answers each question of them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sage_apps.catalogue import data_folder

TUNING, HELD_OUT = "tuning", "held-out"
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\s*\[\d+\]")


@dataclass(frozen=True, slots=True)
class LabelledTurn:
    """A question of a conversation.

    Attributes:
        alone: how a person words it without the conversation; the same as ``asked`` where it does not follow on.
        file: of the document that answers; empty where none does.
        says: what a passage or an answer that is right says, word for word, all of it.
    """

    asked: str
    alone: str
    file: str = ""
    says: tuple[str, ...] = ()

    @property
    def follows(self) -> bool:
        """Whether it follows on what was said before."""
        return self.alone != self.asked

    def is_said_in(self, text: str) -> bool:
        """Whether a text says what is right."""
        said = f" {words_of(text)} "
        return bool(self.says) and all(f" {words_of(part)} " in said for part in self.says)


@dataclass(frozen=True, slots=True)
class LabelledConversation:
    """Questions in the order that they are asked; ``split`` is whether rules were chosen on them."""

    split: str
    turns: tuple[LabelledTurn, ...]


def read_conversations(file: Path | None = None) -> list[LabelledConversation]:
    """Read conversations, one a line of JSON. Raises OSError, ValueError, KeyError.

    Args:
        file: None for those about the handbook.
    """
    path = file or data_folder("assistant") / "conversations.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_conversation(json.loads(line)) for line in lines if line.strip()]


def words_of(text: str) -> str:
    """Return the words of a text in lower case between single spaces, without markup and numbers of sources."""
    return " ".join(_WORD.findall(without_numbers(text).lower()))


def without_numbers(text: str) -> str:
    """Return a text without the numbers of its sources, ``[n]``."""
    return _NUMBER.sub("", text)


def _conversation(value: dict[str, Any]) -> LabelledConversation:
    turns: Sequence[dict[str, Any]] = value["turns"]
    return LabelledConversation(
        value["split"],
        tuple(
            LabelledTurn(one["asked"], one.get("alone", one["asked"]), one.get("file", ""), tuple(one.get("says", ())))
            for one in turns
        ),
    )
