"""The shape of ``CHANGELOG.md``, which is that of Keep a Changelog 1.1.0."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

UNRELEASED = "Unreleased"
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
_HEADING = re.compile(r"^(#{1,4}) +(.*?) *$")
_RELEASE = re.compile(r"^\[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$")


def problems_of(text: str, version: str = "") -> list[str]:
    """Return what is wrong with a changelog, each with its line.

    Args:
        version: that of a release, which must be the latest section behind Unreleased; empty asks for no release.
    """
    lines = text.splitlines()
    sections = [
        (number, match[2])
        for number, line in enumerate(lines, 1)
        if (match := _HEADING.match(line)) and len(match[1]) == 2
    ]
    problems = list(_section_problems(sections))
    ends = [number - 1 for number, _ in sections[1:]] + [len(lines)]
    for (number, title), end in zip(sections, ends, strict=False):
        problems += _kind_problems(title, number, lines[number:end])
    if version:
        problems += _release_problems(sections, version)
    return problems


def _section_problems(sections: list[tuple[int, str]]) -> Iterator[str]:
    if not sections or sections[0][1] != f"[{UNRELEASED}]":
        yield f"the first section is not `## [{UNRELEASED}]`; what comes next is told there"
    before: tuple[int, ...] | None = None
    for number, title in sections:
        if title == f"[{UNRELEASED}]":
            if number != sections[0][0]:
                yield f"line {number}: a second section [{UNRELEASED}]"
            continue
        found = _RELEASE.match(title)
        if found is None:
            yield f"line {number}: `## {title}` is neither [{UNRELEASED}] nor `[1.2.3] - 2026-01-31`"
            continue
        try:
            date.fromisoformat(found[2])
        except ValueError:
            yield f"line {number}: {found[2]} is no day"
        numbers = tuple(map(int, found[1].split(".")))
        if before is not None and numbers >= before:
            yield f"line {number}: {found[1]} stands below an older version; the latest comes first"
        before = numbers


def _kind_problems(title: str, start: int, body: list[str]) -> Iterator[str]:
    """Yield what is wrong in one section: its kinds of change, and the lines below each."""
    seen: list[str] = []
    entries = 0
    for number, line in enumerate(body, start + 1):
        heading = _HEADING.match(line)
        if heading is not None:
            if seen and not entries:
                yield f"line {number}: nothing below `### {seen[-1]}` of {title}; leave the heading out"
            kind, entries = heading[2], 0
            if len(heading[1]) != 3 or kind not in KINDS:
                yield f"line {number}: `{line}` is none of {', '.join(f'### {one}' for one in KINDS)}"
            elif kind in seen:
                yield f"line {number}: a second `### {kind}` of {title}; one takes both"
            seen.append(kind)
        elif line.startswith("- "):
            entries += 1
            if not seen:
                yield f"line {number}: a change of {title} below no kind; begin with `### Added` or another"
        elif line.strip() and not line.startswith("  "):
            yield f"line {number}: neither a change (`- …`) nor the rest of one (two spaces)"
    if seen and not entries:
        yield f"line {start + len(body)}: nothing below `### {seen[-1]}` of {title}; leave the heading out"


def _release_problems(sections: list[tuple[int, str]], version: str) -> Iterator[str]:
    released = [found[1] for _, title in sections if (found := _RELEASE.match(title))]
    if not released:
        yield f"no release is told of; {version} needs its section, with what is below [{UNRELEASED}] now"
    elif released[0] != version:
        yield f"the latest release told of is {released[0]}, and the packages are {version}"
