"""What the simulated engine says: token ``i`` of an answer is a pure function of the request's identity and ``i``.

**Identity.** A marker ``[sim NAME]`` or ``[sim NAME out=57]`` anywhere in the first user message (chat) or the prompt
(completions) names the request, and ``out`` says how many tokens its whole answer has. Without a marker the identity is
a hash of the first user message, or of the prompt's first line. Neither changes when a request is continued after an
engine's death, since only text behind them is added: any engine goes on with the very tokens the first would have sent.

**Text.** Token ``i`` is ``NAME.i`` and a space: ``ab12.0 ab12.1 ab12.2 ``. So a client can tell from the text alone
whether it got each token once, in order, and of its own request.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

_MARKER = re.compile(r"\[sim ([A-Za-z0-9_-]{1,40})(?: out=(\d{1,7}))?\]")
_LAST_TOKEN = re.compile(r"\.(\d{1,7}) \Z")


class Identity(NamedTuple):
    """Who a request is, and how many tokens its whole answer has; None where the request does not say."""

    name: str
    output_tokens: int | None = None


def marker(name: str, output_tokens: int) -> str:
    """Render the marker for a prompt."""
    return f"[sim {name} out={output_tokens}]"


def identify(text: str, *, fallback: str) -> Identity:
    """Read the identity from ``text``; where it has no marker, ``fallback`` is hashed."""
    found = _MARKER.search(text)
    if found is None:
        return Identity(hashlib.blake2s(fallback.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest())
    return Identity(found[1], int(found[2]) if found[2] else None)


def named(name: str) -> str:
    """Render the marker of a prompt whose answer is as long as its request says otherwise."""
    return f"[sim {name}]"


def token_text(name: str, index: int) -> str:
    """Return one token of an answer."""
    return f"{name}.{index} "


def answer_text(name: str, first: int, until: int) -> str:
    """Return tokens ``first`` to ``until`` - 1 of an answer."""
    return "".join(f"{name}.{index} " for index in range(first, until))


def tokens_said(name: str, text: str) -> int:
    """How many tokens of the answer ``text`` ends with, from token 0 on; 0 where it ends otherwise."""
    found = _LAST_TOKEN.search(text)
    if found is None:
        return 0
    count = int(found[1]) + 1
    # The length is checked first: a made-up index must not make a long text be built.
    if len(text) < count * len(token_text(name, 0)) or not text.endswith(answer_text(name, 0, count)):
        return 0
    return count
