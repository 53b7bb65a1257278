"""What a piece of a document is for: to say something, or to list, to date or to permit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from pathlib import PurePath


class SectionKind(str, Enum):
    """What a piece of a document is."""

    BODY = "body"
    CONTENTS = "contents"
    CHANGELOG = "changelog"
    LICENCE = "licence"


_LICENCE = re.compile(
    r"(?:licen[cs]e|copying|copyright|notice|patents|third[-_ ]party[-_ ](?:licen[cs]es|notices))\b", re.IGNORECASE
)
_CHANGELOG = re.compile(
    r"(?:change[-_ ]?log|changes|history|news|release[-_ ]notes|what'?s new|releases)\b", re.IGNORECASE
)
_CONTENTS = re.compile(r"(?:table of contents|contents|toc|index|in this (?:document|page))\W*\Z", re.IGNORECASE)
# A line that only leads elsewhere: an item that is one link, or dots up to the number of a page.
_LEADER = re.compile(
    r"\s*(?:[-*+]|\d{1,3}[.)])?\s*(?:\[[^\]]+\]\([^)]*\)[\s.,;]*\Z|\S.*?(?:\.[ .]{3,}|\t| {3,})\d{1,4}\s*\Z)"
)
_LEAST_LINES = 4
_MOST_LEAD = 0.7
_ASKED = (
    (
        SectionKind.LICENCE,
        re.compile(r"\b(?:licen[cs]|copyright|patent|warrant|redistribut|attribution)", re.IGNORECASE),
    ),
    (
        SectionKind.CHANGELOG,
        re.compile(
            r"\b(?:changelog|change log|changed|changes|release|version|new in|history|deprecat)", re.IGNORECASE
        ),
    ),
    (SectionKind.CONTENTS, re.compile(r"\b(?:contents|chapters|sections|index)\b", re.IGNORECASE)),
)


def section_kind(path: str, headings: Sequence[str], text: str) -> SectionKind:
    """Return what a piece of a document is, by its file's name, its headings and the form of its lines."""
    name = PurePath(path).stem
    for kind, pattern in ((SectionKind.LICENCE, _LICENCE), (SectionKind.CHANGELOG, _CHANGELOG)):
        if pattern.match(name) or (headings and (pattern.match(headings[0]) or pattern.match(headings[-1]))):
            return kind
    if headings and _CONTENTS.match(headings[-1]):
        return SectionKind.CONTENTS
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) >= _LEAST_LINES and sum(bool(_LEADER.match(line)) for line in lines) >= _MOST_LEAD * len(lines):
        return SectionKind.CONTENTS
    return SectionKind.BODY


def asked_kinds(question: str) -> frozenset[SectionKind]:
    """Return the kinds that a question is about; ``BODY`` always is among them."""
    return frozenset({SectionKind.BODY, *(kind for kind, pattern in _ASKED if pattern.search(question))})
