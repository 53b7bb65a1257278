"""Edits of a file of the repository: a line more in a list, an error where the file looks otherwise than expected."""

from __future__ import annotations

import re
from collections.abc import Callable

from sage_common.errors import UnprocessableError

Edit = Callable[[str], str]


def line_in_order(pattern: str, line: str) -> Edit:
    """Return an edit that adds a line to a run of lines that match, where it belongs by the alphabet.

    Raises (the edit does):
        UnprocessableError: no line matches.
    """

    def edit(text: str) -> str:
        lines = text.splitlines(keepends=True)
        places = [number for number, one in enumerate(lines) if re.match(pattern, one)]
        if not places:
            raise UnprocessableError(f"no line like {pattern!r}, to put {line!r} beside it")
        before = next((number for number in places if lines[number].rstrip() > line), places[-1] + 1)
        return "".join([*lines[:before], line + "\n", *lines[before:]])

    return edit


def before(mark: str, added: str) -> Edit:
    """Return an edit that adds a text before the only place of a mark. The edit raises UnprocessableError."""
    return replaced(mark, added + mark)


def after(mark: str, added: str) -> Edit:
    """Return an edit that adds a text behind the only place of a mark. The edit raises UnprocessableError."""
    return replaced(mark, mark + added)


def replaced(mark: str, new: str) -> Edit:
    """Return an edit that replaces the only place of a mark. The edit raises UnprocessableError."""

    def edit(text: str) -> str:
        if (count := text.count(mark)) != 1:
            raise UnprocessableError(f"{mark!r} is there {count} times, not once")
        return text.replace(mark, new)

    return edit
