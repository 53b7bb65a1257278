"""The text of an extractive answer: sentences joined, ended by a stop string or a token limit. Pure.

Tokens, of prompts and answers alike, are those of ``sage_control_plane.request.features``: the estimator that the
scheduler budgets with, fitted to a byte-pair encoding (4% mean error on English). No tokenizer runs in this engine, so
there is no truer count to give; it is one tokenisation throughout and it is stated here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sage_common.errors import InvalidRequestError
from sage_control_plane.request.features import request_features

# What the estimator adds to every segment for a chat template's marks; an answer has none.
_SEGMENT_TOKENS = 2


class AnswerText(NamedTuple):
    """An answer in the pieces that a stream sends, and why it ends."""

    pieces: tuple[str, ...]
    finish_reason: str

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    def after(self, prefix: str) -> AnswerText:
        """Return what follows ``prefix``, the part that the caller has already.

        Raises:
            InvalidRequestError: the answer does not begin with that.
        """
        if not prefix:
            return self
        if not self.text.startswith(prefix):
            raise InvalidRequestError(
                f"continue_final_message asks to go on after {prefix[-40:]!r}, which is not how the answer of this "
                "extractive model begins; leave it out, or use a generating model",
                param="continue_final_message",
            )
        pieces = []
        skip = len(prefix)
        for piece in self.pieces:
            if skip < len(piece):
                pieces.append(piece[skip:])
            skip = max(0, skip - len(piece))
        return AnswerText(tuple(pieces), self.finish_reason)


def prompt_tokens(segments: Sequence[str]) -> int:
    """Count the tokens of a conversation."""
    return request_features(segments)[0]


def text_tokens(text: str) -> int:
    """Count the tokens of plain text; 0 only when it is empty."""
    return max(1, request_features([text])[0] - _SEGMENT_TOKENS) if text else 0


def answer_text(sentences: Sequence[str], max_tokens: int | None, stop: Sequence[str]) -> AnswerText:
    """Join ``sentences`` and cut them to their limits; each piece is a sentence with the space before it.

    Args:
        max_tokens: most tokens, by ``text_tokens``; the text ends at a word's end. None for no limit.
        stop: the text ends before the earliest of these.
    """
    pieces = [f" {sentence}" if position else sentence for position, sentence in enumerate(sentences)]
    whole = "".join(pieces)
    found = [at for at in (whole.find(string) for string in stop) if at >= 0]
    stopped = whole[: min(found)] if found else whole
    kept = stopped if max_tokens is None else _shortened(stopped, max_tokens)
    return AnswerText(_first(pieces, len(kept)), "length" if len(kept) < len(stopped) else "stop")


def _shortened(text: str, max_tokens: int) -> str:
    if text_tokens(text) <= max_tokens:
        return text
    ends = [at for at, character in enumerate(text) if character == " "]
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) // 2
        if text_tokens(text[: ends[middle]]) <= max_tokens:
            low = middle + 1
        else:
            high = middle
    return text[: ends[low - 1]] if low else ""


def _first(pieces: Sequence[str], length: int) -> tuple[str, ...]:
    kept: list[str] = []
    for piece in pieces:
        if length <= 0:
            break
        kept.append(piece[:length])
        length -= len(piece)
    return tuple(kept)
