"""Making a question of its own from one that follows on the conversation. Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
# Words that stand for something said before.
_REFERRING = frozenset(
    _WORD.findall(
        "it its they them their theirs this that these those one ones there he she him her same other others then"
    )
)
# "that" and "there" often open a clause and refer to nothing; at the end of a question they do refer.
_ONLY_LAST = frozenset({"that", "there", "this", "one", "same", "then"})
# After one of these, "that" and "this" stand for something: "what does that cost", "before that".
_BEFORE_REFERRING = frozenset(
    _WORD.findall("does do did is was would will can could about of for after before with like")
)
# How a question begins that goes on with the one before.
_OPENING = re.compile(r"(?:and|but|or|so|also|then|what about|how about|what if|why not|otherwise|what else)\b")
# Words that ask or join, and say nothing of what is asked about.
_ASKING = frozenset(
    _WORD.findall(
        "a an and any are as at be been but by can could did do does for from had has have how i if in is may me much "
        "many must my need of on or our should so than the then to too us want was we were what when where which who "
        "whom whose why will with would you your not no long often really please tell about happens"
    )
)
# A question that names less than this speaks of something named before.
_LEAST_NAMED = 2
_SUBJECT = re.compile(r" \(about: (?P<subject>.*)\)\Z", re.DOTALL)
_MOST_SUBJECT_CHARACTERS = 400


def follows_on(asked: str) -> bool:
    """Return whether a question cannot be understood without the one before it."""
    words = [word.lower() for word in _WORD.findall(asked)]
    if _OPENING.match(" ".join(words)):
        return True
    if any(word in _REFERRING and word not in _ONLY_LAST for word in words):
        return True
    if words and words[-1] in _ONLY_LAST:
        return True
    if any(word in ("that", "this") and before in _BEFORE_REFERRING for before, word in pairwise(words)):
        return True
    return len(set(words) - _ASKING) < _LEAST_NAMED


def on_its_own(asked: str, earlier: Sequence[str]) -> str:
    """Return ``asked`` with what it is about, where it follows on.

    Args:
        earlier: the questions before it, as they were made questions of their own, oldest first.
    """
    if not earlier or not follows_on(asked):
        return asked
    subject = subject_of(earlier[-1])
    return f"{asked} (about: {subject[:_MOST_SUBJECT_CHARACTERS].rstrip()})"


def subject_of(question: str) -> str:
    """Return what a question is about: of one that follows on itself, what that is about."""
    found = _SUBJECT.search(question)
    return found["subject"] if found else question.strip().rstrip("?").rstrip()
