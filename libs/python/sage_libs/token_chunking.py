"""Cutting a document into chunks of a number of tokens, along its headings, paragraphs and sentences.

The tokenizer runs once over the whole text; a chunk's tokens are then counted by bisection in the places where tokens
begin, so that no piece is tokenized twice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sage_libs.headings import sections
from sage_libs.sentences import Span, paragraph_spans, sentence_spans

# Where tokens begin in a text, in order.
TokenStarts = Callable[[str], Sequence[int]]

_CHARACTERS_A_TOKEN = 4
# A chunk at least this full ends where its paragraph ends, and does not take a piece of the next one.
_FULL_ENOUGH = 0.6
# Long headings leave at least this share of a chunk to its text.
_LEAST_TEXT_SHARE = 0.5


class TokenChunk(NamedTuple):
    """A piece of a document.

    Attributes:
        start, end: half-open range of characters, without the space around it.
        tokens: of that text, by the tokenizer.
        headings: the headings above it, the document's first.
    """

    start: int
    end: int
    tokens: int
    headings: tuple[str, ...]


def estimated_starts(text: str) -> Sequence[int]:
    """Count a token every four characters, for models whose tokenizer is not at hand."""
    return range(0, len(text), _CHARACTERS_A_TOKEN)


def token_chunks(text: str, suffix: str, max_tokens: int, token_starts: TokenStarts) -> list[TokenChunk]:
    """Cut ``text`` into chunks in reading order.

    A chunk never crosses a heading and holds whole sentences; a sentence of more tokens than a chunk may have is cut
    between two tokens, at a space where there is one. Together the chunks hold every character but headings and white
    space between sentences. A chunk and its headings have ``max_tokens`` tokens at most, unless the headings alone take
    more than half of them.

    Args:
        suffix: the document's format, such as ``.md``.
        max_tokens: > 1.

    Raises:
        ValueError: ``max_tokens`` out of range.
    """
    if max_tokens < 2:
        raise ValueError(f"max_tokens is {max_tokens}; a chunk needs at least two")
    starts = token_starts(text)
    chunks: list[TokenChunk] = []
    heading_tokens: dict[tuple[str, ...], int] = {}
    for section in sections(text, suffix):
        headings = section.headings
        if headings not in heading_tokens:
            heading_tokens[headings] = len(token_starts(" > ".join(headings))) if headings else 0
        budget = max(max_tokens - heading_tokens[headings], int(max_tokens * _LEAST_TEXT_SHARE))
        part = text[section.start : section.end]
        for start, end in _packed(part, section.start, starts, budget):
            tokens = bisect_left(starts, end) - bisect_left(starts, start)
            chunks.append(TokenChunk(start, end, tokens, headings))
    return chunks


def _packed(part: str, offset: int, starts: Sequence[int], budget: int) -> list[Span]:
    units = [
        piece
        for span in sentence_spans(part)
        for piece in _pieces(part, offset, Span(span.start + offset, span.end + offset), starts, budget)
    ]
    paragraph_ends = {span.end + offset for span in paragraph_spans(part)}
    packed: list[Span] = []
    first = 0
    while first < len(units):
        start = units[first].start
        at = bisect_left(starts, start)
        last = first
        while last + 1 < len(units):
            used = bisect_left(starts, units[last].end) - at
            if used >= _FULL_ENOUGH * budget and units[last].end in paragraph_ends:
                break
            if bisect_left(starts, units[last + 1].end) - at > budget:
                break
            last += 1
        packed.append(Span(start, units[last].end))
        first = last + 1
    return packed


def _pieces(part: str, offset: int, sentence: Span, starts: Sequence[int], budget: int) -> list[Span]:
    pieces = []
    start, end = sentence
    while True:
        at = bisect_left(starts, start)
        if bisect_left(starts, end) - at <= budget:
            pieces.append(Span(start, end))
            return pieces
        cut = starts[at + budget]
        space = max(part.rfind(mark, start - offset + 1, cut - offset + 1) for mark in " \n\t") + offset
        if space > start:
            cut = space
        stop = cut
        while stop > start and part[stop - 1 - offset].isspace():
            stop -= 1
        if stop > start:
            pieces.append(Span(start, stop))
        start = cut
        while part[start - offset].isspace():
            start += 1
