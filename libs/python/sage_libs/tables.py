"""Tables of Markdown that are cut into pieces: which head belongs to rows whose table began before them."""

from __future__ import annotations

import re
from itertools import pairwise

_ROW = re.compile(r"[ \t]*\|")
_RULE = re.compile(r"[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)+(?:[ \t]*:?-+:?)?[ \t]*\Z")


def is_row(line: str) -> bool:
    """Whether a line is a row of a table, its head or its rule."""
    return _ROW.match(line) is not None


def is_rule(line: str) -> bool:
    """Whether a line is the rule below a table's head."""
    return _RULE.match(line) is not None


def begins_within_table(text: str) -> bool:
    """Whether a text begins with a row whose head is not in it."""
    first, _, rest = text.lstrip("\n").partition("\n")
    return is_row(first) and not is_rule(first) and not is_rule(rest.partition("\n")[0])


def head_above(text: str, start: int) -> str:
    """Return the head of the table, with its rule, that goes on at ``start``; empty where none does.

    Args:
        start: of a line.
    """
    if not begins_within_table(text[start : start + 4_000]):
        return ""
    above = []
    for line in reversed(text[:start].removesuffix("\n").split("\n")):
        if not is_row(line):
            break
        above.append(line)
    for rule, head in pairwise(above):
        if is_rule(rule):
            return f"{head}\n{rule}"
    return ""
