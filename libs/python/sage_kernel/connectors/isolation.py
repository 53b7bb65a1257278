"""Finding the records of a batch that do not fit, without a call of Python for each of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.foreign_errors import contained
from sage_kernel.operator import REFUSED_FIELDS, Refused

# Of a record that does not fit: enough to see what it is, and for most to be sent again.
KEPT_BYTES = 64 * 1024
# So few records are tried one by one.
_SINGLES = 8

T = TypeVar("T", bytes, pl.DataFrame)


class BadRecord(NamedTuple):
    """A record that does not fit.

    Attributes:
        number: which record of its batch it is, from 0.
        raw: its text.
        reason: what is wrong with it, and what to do.
    """

    number: int
    raw: bytes
    reason: str


@dataclass
class Decoded:
    """What became of a batch."""

    frame: pl.DataFrame
    bad: list[BadRecord] = field(default_factory=list)


def isolate(
    records: Sequence[bytes],
    decode: Callable[[Sequence[bytes]], pl.DataFrame],
    reason: Callable[[bytes, Exception], str],
) -> Decoded:
    """Decode ``records``, halving what fails until the records to blame are found.

    Args:
        decode: makes one frame of records, or raises UnprocessableError or a polars error.
        reason: says what is wrong with one record.
    """
    kept: list[pl.DataFrame] = []
    bad: list[BadRecord] = []
    waiting = [(0, len(records))]
    while waiting:
        first, end = waiting.pop()
        try:
            kept.append(contained(partial(decode, records[first:end])))
        except (UnprocessableError, pl.exceptions.PolarsError, ValueError) as error:
            if end - first == 1:
                bad.append(BadRecord(first, records[first], reason(records[first], error)))
                continue
            middle = (first + end) // 2
            halves = [(first, middle), (middle, end)]
            if end - first <= _SINGLES:
                halves = [(at, at + 1) for at in range(first, end)]
            waiting.extend(reversed(halves))
    frames = [frame for frame in kept if frame.height] or kept[:1] or [decode(())]
    return Decoded(pl.concat(frames, how="vertical") if len(frames) > 1 else frames[0], bad)


def refused(bad: Sequence[BadRecord], place: Callable[[int], str]) -> list[Refused]:
    """Return records that do not fit as what a source refuses; ``place`` names where the record of a number stands."""
    found: list[Refused] = []
    for number, raw, reason in bad:
        where = place(number)
        text = raw[:KEPT_BYTES].decode("utf-8", "backslashreplace")
        frame = pl.DataFrame({"raw": [text], "place": [where]}, schema=dict(REFUSED_FIELDS))
        found.append(Refused(frame, UnprocessableError(f"{where}: {reason}", code="record_refused")))
    return found
