"""Cutting a text into overlapping chunks along its sentences and paragraphs."""

from __future__ import annotations

import re

from sage_libs.sentences import Span, paragraph_spans, sentence_spans

# About 256 tokens of English, the longest text that MiniLM reads.
DEFAULT_MAX_CHARACTERS = 1000
DEFAULT_OVERLAP_CHARACTERS = 150
# A chunk at least this full ends where its paragraph ends, and does not take a piece of the next one.
_FULL_ENOUGH = 0.6
_SPACE = re.compile(r"\s+")


def chunk_spans(
    text: str,
    max_characters: int = DEFAULT_MAX_CHARACTERS,
    overlap_characters: int = DEFAULT_OVERLAP_CHARACTERS,
) -> list[Span]:
    """Cut ``text`` into chunks, each a slice ``text[start:end]``, in order.

    Together the chunks hold every character but white space between sentences. A chunk holds whole sentences; one
    that is longer than a chunk is cut at a space, or anywhere if it has none. A chunk begins with as many of the
    last sentences of the one before as fit into the overlap.

    Args:
        text: what to cut.
        max_characters: longest chunk, > 0.
        overlap_characters: most characters that a chunk repeats, >= 0 and < ``max_characters``.

    Raises:
        ValueError: limits out of range.
    """
    if max_characters < 1:
        raise ValueError(f"max_characters is {max_characters}; a chunk needs at least one")
    if not 0 <= overlap_characters < max_characters:
        raise ValueError(
            f"overlap_characters is {overlap_characters}; it must be at least 0 and below {max_characters}"
        )
    units = [piece for span in sentence_spans(text) for piece in _pieces(text, span, max_characters)]
    paragraph_ends = {span.end for span in paragraph_spans(text)}
    chunks: list[Span] = []
    first = 0
    while first < len(units):
        start = units[first].start
        if chunks:
            start = _overlap_start(units, first, units[first].end - max_characters, overlap_characters)
        last = _last_unit(units, first, start, max_characters, paragraph_ends)
        chunks.append(Span(start, units[last].end))
        first = last + 1
    return chunks


def _last_unit(units: list[Span], first: int, start: int, max_characters: int, paragraph_ends: set[int]) -> int:
    last = first
    while last + 1 < len(units) and units[last + 1].end - start <= max_characters:
        full_enough = units[last].end - start >= _FULL_ENOUGH * max_characters
        if full_enough and units[last].end in paragraph_ends:
            break
        last += 1
    return last


def _overlap_start(units: list[Span], first: int, earliest: int, overlap_characters: int) -> int:
    start = units[first].start
    for at in range(first - 1, -1, -1):
        unit = units[at]
        if unit.start < earliest or units[first].start - unit.start > overlap_characters:
            break
        start = unit.start
    return start


def _pieces(text: str, sentence: Span, max_characters: int) -> list[Span]:
    pieces = []
    start = sentence.start
    while sentence.end - start > max_characters:
        spaces = list(_SPACE.finditer(text, start + 1, start + max_characters + 1))
        end = spaces[-1].start() if spaces else start + max_characters
        pieces.append(Span(start, end))
        start = end
        while text[start].isspace():
            start += 1
    pieces.append(Span(start, sentence.end))
    return pieces
