"""How a pipeline writes aggregates: ``count()``, ``sum(amount)``, ``max_by(name, price * quantity)``.

The functions of this module write them: ``aggregate(n=count(), total=sum_("amount"))`` says the same as the YAML
``aggs: {n: "count()", total: "sum(amount)"}``. Arguments are scalar SQL expressions over the fields of a record.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_TEXT = 2_000
_CALL = re.compile(r"\s*([a-z_]{1,32})\s*\((.*)\)\s*", re.DOTALL)
# Names with the number of arguments that each takes.
ARGUMENTS = {
    "count": (0, 1), "sum": (1, 1), "min": (1, 1), "max": (1, 1), "mean": (1, 1), "var": (1, 1), "std": (1, 1),
    "first": (1, 1), "last": (1, 1), "n_unique": (1, 1), "list": (1, 1), "any_value": (1, 1), "max_by": (2, 2),
    "min_by": (2, 2),
}  # fmt: skip


class AggregateCall(NamedTuple):
    """A function and the SQL of its arguments."""

    function: str
    arguments: tuple[str, ...]


def parse_aggregate(text: str) -> AggregateCall:
    """Read an aggregate. Takes time linear in the text; its arguments are not looked into.

    Raises:
        ValueError: it is no call of a known function with the right number of arguments.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"an aggregate of {len(text)} characters; use at most {MAX_TEXT}")
    match = _CALL.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:60]!r} is no aggregate; write one as sum(amount)")
    function, arguments = match[1], _split(match[2])
    if function not in ARGUMENTS:
        raise ValueError(f"{function!r} is no aggregate; known: {', '.join(ARGUMENTS)}")
    if function == "count" and arguments == ("*",):
        arguments = ()
    least, most = ARGUMENTS[function]
    if not least <= len(arguments) <= most:
        takes = str(most) if least == most else f"{least} or {most}"
        raise ValueError(f"{function} takes {takes} arguments, got {len(arguments)} in {text[:60]!r}")
    if not all(arguments):
        raise ValueError(f"an argument is empty in {text[:60]!r}")
    return AggregateCall(function, arguments)


def _split(text: str) -> tuple[str, ...]:
    """Split at commas outside of parentheses and quotes."""
    if not text.strip():
        return ()
    pieces: list[str] = []
    depth, start, quote = 0, 0, ""
    for at, character in enumerate(text):
        if quote:
            if character == quote:
                quote = ""
        elif character in "'\"`":
            quote = character
        elif character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
            if depth < 0:
                raise ValueError(f"a parenthesis is closed that was not opened in {text[:60]!r}")
        elif character == "," and depth == 0:
            pieces.append(text[start:at].strip())
            start = at + 1
    return (*pieces, text[start:].strip())


def count(of: str = "") -> str:
    """Count records, or those where ``of`` is not null."""
    return f"count({of})"


def sum_(of: str) -> str:
    """Add up; null where there is no value."""
    return f"sum({of})"


def min_(of: str) -> str:
    """Take the least value."""
    return f"min({of})"


def max_(of: str) -> str:
    """Take the greatest value."""
    return f"max({of})"


def mean(of: str) -> str:
    """Take the mean."""
    return f"mean({of})"


def var(of: str) -> str:
    """Take the sample variance; null below two values."""
    return f"var({of})"


def std(of: str) -> str:
    """Take the sample standard deviation; null below two values."""
    return f"std({of})"


def first(of: str) -> str:
    """Take the value of the record that happened first, null included."""
    return f"first({of})"


def last(of: str) -> str:
    """Take the value of the record that happened last, null included."""
    return f"last({of})"


def n_unique(of: str) -> str:
    """Count distinct values; null is none."""
    return f"n_unique({of})"


def list_(of: str) -> str:
    """Collect all values, null included, in the order in which they happened."""
    return f"list({of})"


def any_value(of: str) -> str:
    """Take a value that is not null, if there is one."""
    return f"any_value({of})"


def max_by(of: str, by: str) -> str:
    """Take ``of`` from the record with the greatest ``by``."""
    return f"max_by({of}, {by})"


def min_by(of: str, by: str) -> str:
    """Take ``of`` from the record with the least ``by``."""
    return f"min_by({of}, {by})"
