"""Sections of a document: which headings stand above each stretch of its text."""

from __future__ import annotations

import re
from typing import NamedTuple

_FENCE = re.compile(r"^[ ]{0,3}(`{3,}|~{3,})[^\n]*$", re.MULTILINE)
_MARKDOWN = re.compile(r"^(#{1,6})[ \t]+(\S[^\n]*?)[ \t]*#*[ \t]*$", re.MULTILINE)
_RST = re.compile(r"^(?P<title>\S[^\n]*)\n(?P<mark>[=\-~^\"'`+*#])(?P=mark){2,}[ \t]*$", re.MULTILINE)
_UNDERLINED = re.compile(
    r"(?:\A|(?<=\n\n))(?P<title>\S[^\n]{1,79})\n(?P<line>(?P<mark>[=\-~])(?P=mark){2,})[ \t]*$", re.MULTILINE
)
_MOST_UNDERLINE_DIFFERENCE = 2
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


class Section(NamedTuple):
    """A stretch of text without its heading's line.

    Attributes:
        start, end: half-open range of characters.
        headings: the headings above it, the document's first.
    """

    start: int
    end: int
    headings: tuple[str, ...]


class _Heading(NamedTuple):
    start: int
    end: int
    level: int
    title: str


def sections(text: str, suffix: str) -> list[Section]:
    """Return the sections of a document in reading order; those without text are left out.

    Args:
        suffix: the document's format, such as ``.md``. Formats without headings are one section.
    """
    found = _headings(text, suffix)
    made = []
    path: list[_Heading] = []
    start = 0
    for heading in [*found, _Heading(len(text), len(text), 0, "")]:
        if text[start : heading.start].strip():
            made.append(Section(start, heading.start, tuple(above.title for above in path)))
        while path and path[-1].level >= heading.level:
            path.pop()
        path.append(heading)
        start = heading.end
    return made


def _headings(text: str, suffix: str) -> list[_Heading]:
    if suffix in (".md", ".markdown", ".docx", ".pptx", ".xlsx", ".csv"):
        fences = _fenced(text)
        return [
            _Heading(match.start(), match.end(), len(match[1]), _plain(match[2]))
            for match in _MARKDOWN.finditer(text)
            if not any(start < match.start() < end for start, end in fences)
        ]
    if suffix == ".rst":
        # reStructuredText gives each underline the level at which it first appears.
        levels: dict[str, int] = {}
        return [
            _Heading(match.start(), match.end(), levels.setdefault(match["mark"], len(levels) + 1), match["title"])
            for match in _RST.finditer(text)
            if len(match[0]) - len(match["title"]) - 1 >= len(match["title"].strip())
        ]
    if suffix == ".txt":
        # Plain text has no markup, but an underline as long as the line above it is a heading everywhere.
        levels = {}
        return [
            _Heading(match.start(), match.end(), levels.setdefault(match["mark"], len(levels) + 1), match["title"])
            for match in _UNDERLINED.finditer(text)
            if abs(len(match["line"]) - len(match["title"])) <= _MOST_UNDERLINE_DIFFERENCE
        ]
    return []


def _fenced(text: str) -> list[tuple[int, int]]:
    spans = []
    opened: re.Match[str] | None = None
    for match in _FENCE.finditer(text):
        if opened is None:
            opened = match
        elif match[1].startswith(opened[1]):
            spans.append((opened.start(), match.end()))
            opened = None
    if opened is not None:
        spans.append((opened.start(), len(text)))
    return spans


def _plain(title: str) -> str:
    return _LINK.sub(r"\1", title).replace("`", "").replace("**", "")
