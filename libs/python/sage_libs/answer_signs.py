"""Whether a piece of text has the form that an answer to a question would have, whatever either is about. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

# What a question begins with, or asks of, and what its answers do; the first that fits counts.
_REASON = re.compile(r"why\b", re.IGNORECASE)
_GIVES_REASON = re.compile(r"\b(?:because|since|so that|would|therefore|costs?|reason|to avoid|otherwise)\b", re.I)
_WHETHER = re.compile(r"(?:can|may|do|does|is|are|should|must|will|could)\b", re.IGNORECASE)
_SAYS_WHETHER = re.compile(r"\b(?:not|no|never|cannot|only|must|may|should|can|always|does|do)\b", re.IGNORECASE)
_INSTRUCTION = re.compile(r"(?:.*\bhow do i\b|how (?:do|can|could|should) (?:you|i|one|we)\b)", re.IGNORECASE)
_INSTRUCTS = re.compile(r"(?:use|set|add|run|pass|put|write|to|if you|call|create|give|make|by)\b", re.IGNORECASE)
_AMOUNT = re.compile(r"(?:how (?:many|much|long|often|large|big|far)|at which)\b", re.IGNORECASE)
_THING = re.compile(r"(?:what(?! happens| if)|which|where|(?:in|under|at|on|for) (?:what|which))\b", re.IGNORECASE)
_NAMES_CODE = re.compile(r"[-_/.:=$]\w|\w\(|`|[A-Z]{2,}_|\w_\w")
_ABSENCE = re.compile(r"\b(?:default|nothing|no|not)\b", re.IGNORECASE)
_SAYS_DEFAULT = re.compile(r"\bdefaults?\b|\b(?:otherwise|unless|if neither|typically)\b", re.IGNORECASE)


class AnswerSigns(NamedTuple):
    """What of an answer's form a piece has.

    Attributes:
        expected: it gives a reason, decides, instructs, or says what holds by default, and that was asked for.
        names_code: it has an option, a path, a name or a call in it, and a thing was asked for.
    """

    expected: bool
    names_code: bool


def answer_signs(question: str, text: str) -> AnswerSigns:
    """Return what of an answer to ``question`` the piece ``text`` has the form of. Both in English, else nothing."""
    question = question.strip()
    expected = bool(_ABSENCE.search(question) and _SAYS_DEFAULT.search(text))
    if _REASON.match(question):
        expected = expected or _GIVES_REASON.search(text) is not None
    elif _WHETHER.match(question):
        expected = expected or _SAYS_WHETHER.search(text) is not None
    elif _INSTRUCTION.match(question):
        expected = expected or _INSTRUCTS.match(text) is not None
    is_thing = _THING.match(question) is not None and _AMOUNT.match(question) is None
    return AnswerSigns(expected, is_thing and _NAMES_CODE.search(text) is not None)
