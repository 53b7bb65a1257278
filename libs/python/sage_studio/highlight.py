"""Which sentences of a source an answer rests on."""

from __future__ import annotations

import re
from typing import NamedTuple

# A point within a number or name ends nothing; an empty line does.
_SENTENCE = re.compile(r".+?(?:[.!?]+(?=\s|$)\s*|\n{2,}|\Z)", re.DOTALL)
_WORD = re.compile(r"\w{4,}")
# A sentence with fewer words of its own says nothing that could be recognised.
LEAST_WORDS = 3
# The share of its words that an answer which has it in other words repeats.
REPEATED = 0.7


class Piece(NamedTuple):
    """A part of a source's text."""

    text: str
    used: bool


def highlighted(source: str, answer: str) -> list[Piece]:
    """Return a source in pieces; joined, they are its text. A piece is used where the answer has most of its words."""
    said = set(_words(answer))
    pieces: list[Piece] = []
    for match in _SENTENCE.finditer(source):
        words = set(_words(match[0]))
        used = len(words) >= LEAST_WORDS and len(words & said) >= REPEATED * len(words)
        if pieces and pieces[-1].used == used:
            pieces[-1] = Piece(pieces[-1].text + match[0], used)
        else:
            pieces.append(Piece(match[0], used))
    return pieces


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]
