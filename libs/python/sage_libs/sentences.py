"""Where sentences and paragraphs begin and end. Every span is a half-open pair of character offsets into the text."""

from __future__ import annotations

import re
from typing import NamedTuple


class Span(NamedTuple):
    """Half-open range of characters ``[start, end)``."""

    start: int
    end: int


# A line that starts a unit of its own however the line before it ended: heading, list item, quote, table row, fence.
_UNIT_LINE = re.compile(r"[ \t]*(#{1,6}\s|[-*+•]\s|\d{1,3}[.)]\s|>|\||```|~~~|</?(source|context)\b)")
_ENDS_ALONE = re.compile(r"[ \t]*(#{1,6}\s|\||```|~~~|</?(source|context)\b)")
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s+["'“‘(\[`*_]*[^\Wa-z_])|[。！？]+["”’」』）]*""")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|[Cc]f|vs|etc|approx|resp|[Ff]ig|[Ee]q|[Vv]ol|pp?|Mrs?|Ms|Dr|Prof|St|Jr|Sr|Inc|Ltd|No)"
    r"|(?:^|[\s(.])[A-Z])\.$"
)


def paragraph_spans(text: str) -> list[Span]:
    """Return the paragraphs of ``text``: what blank lines separate, without the space around it."""
    spans = []
    position = 0
    for gap in re.finditer(r"\n[ \t\r\f\v]*(?:\n[ \t\r\f\v]*)+|\f", text):
        spans.append(_trimmed(text, position, gap.start()))
        position = gap.end()
    spans.append(_trimmed(text, position, len(text)))
    return [span for span in spans if span.start < span.end]


def sentence_spans(text: str) -> list[Span]:
    """Return the sentences of ``text`` in reading order, without the space around them.

    A sentence never crosses a blank line; headings, list items and table rows stand alone; a line break inside a
    wrapped paragraph does not end a sentence.
    """
    spans: list[Span] = []
    for paragraph in paragraph_spans(text):
        for unit in _units(text, paragraph):
            spans.extend(_sentences_of(text, unit))
    return spans


def _units(text: str, paragraph: Span) -> list[Span]:
    units: list[Span] = []
    start = position = paragraph.start
    while position < paragraph.end:
        newline = text.find("\n", position, paragraph.end)
        line_end = paragraph.end if newline < 0 else newline
        line = text[position:line_end]
        if position > start and _UNIT_LINE.match(line):
            units.append(_trimmed(text, start, position))
            start = position
        if _ENDS_ALONE.match(line):
            units.append(_trimmed(text, start, line_end))
            start = line_end
        position = line_end + 1
    units.append(_trimmed(text, start, paragraph.end))
    return [unit for unit in units if unit.start < unit.end]


def _sentences_of(text: str, unit: Span) -> list[Span]:
    spans = []
    start = unit.start
    for match in _SENTENCE_END.finditer(text, unit.start, unit.end):
        head = text[max(start, match.start() - 12) : match.start() + 1]
        if match[0].startswith(".") and _ABBREVIATION.search(head):
            continue
        if match[0] == "." and text[start : match.start()].strip().isdigit():
            continue  # the number of a list item
        spans.append(_trimmed(text, start, match.end()))
        start = match.end()
    spans.append(_trimmed(text, start, unit.end))
    return [span for span in spans if span.start < span.end]


def _trimmed(text: str, start: int, end: int) -> Span:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return Span(start, end)
