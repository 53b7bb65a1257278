"""Lengths of time as a pipeline writes them: ``500ms``, ``30s``, ``1m``, ``2h``, ``7d``, or a number of seconds."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_DAY_US = 86_400_000_000
_UNITS_US = {
    "us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": _DAY_US, "w": 7 * _DAY_US,
}  # fmt: skip
_TEXT = re.compile(r"(-?\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d|w)")
# Longer than any history: a hundred centuries.
MAX_US = 10_000 * 366 * _DAY_US


def parse_duration(value: str | int | float) -> int:
    """Return microseconds.

    Raises:
        ValueError: it is no length of time, or longer than 10,000 years.
    """
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is no length of time; write 30s, 5m, 2h or 7d")
    if isinstance(value, int | float):
        amount, unit = float(value), 1_000_000
    else:
        match = _TEXT.fullmatch(value.strip())
        if match is None:
            raise ValueError(f"{value[:40]!r} is no length of time; write 500ms, 30s, 5m, 2h or 7d")
        amount, unit = float(match[1]), _UNITS_US[match[2]]
    if not abs(amount * unit) <= MAX_US:
        raise ValueError(f"{str(value)[:40]!r} is longer than 10,000 years")
    return round(amount * unit)


def write_duration(microseconds: int) -> str:
    """Return the shortest text that reads back as ``microseconds``."""
    for unit in ("w", "d", "h", "m", "s", "ms"):
        if microseconds and microseconds % _UNITS_US[unit] == 0:
            return f"{microseconds // _UNITS_US[unit]}{unit}"
    return f"{microseconds}us" if microseconds else "0s"


def _read(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str | int | float) else value


Duration = Annotated[
    int,
    BeforeValidator(_read),
    PlainSerializer(write_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d+(\.\d+)?\s*(us|ms|s|m|h|d|w)$"}),
]
"""Microseconds; written as text with a unit. A bare number counts seconds."""
