"""Timestamps as records write them: ISO 8601 text, or a count since 1970-01-01 UTC in a stated unit."""

from __future__ import annotations

from typing import Literal, TypeAlias

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.schema import TIMESTAMP

EpochUnit: TypeAlias = Literal["s", "ms", "us", "ns"]

_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}
# The years 1 to 9999, which every calendar and every JSON of ours has a form for.
_LEAST_US, _MOST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
_LEAST_DAY, _MOST_DAY = -719_162, 2_932_896
# The most common form first: polars has a path of its own for it. The second takes fractions and offsets.
_FASTEST = "%Y-%m-%dT%H:%M:%SZ"
_FORMATS = (
    "%+",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
)


def parse_text(text: pl.Series) -> pl.Series:
    """Return timestamps of ISO 8601 texts; one without an offset counts as UTC.

    Raises:
        UnprocessableError: a text is no timestamp, or outside the years 1 to 9999.
    """
    parsed = _by_format(text, _FASTEST)
    if parsed.null_count() > text.null_count():
        for form in _FORMATS:
            missing = parsed.is_null() & text.is_not_null()
            if not missing.any():
                break
            parsed = parsed.zip_with(~missing, _by_format(text.set(~missing, None), form))
    _all_parsed(text, parsed, "no ISO 8601 timestamp; for numbers state 'epoch'")
    return in_range(parsed)


def parse_epoch(counts: pl.Series, unit: EpochUnit) -> pl.Series:
    """Return timestamps of counts in ``unit``. Raises UnprocessableError outside the years 1 to 9999."""
    if unit == "ns":
        return in_range((counts // 1000).cast(TIMESTAMP))
    factor = _PER_UNIT[unit]
    beyond = (counts > _MOST_US // factor) | (counts < _LEAST_US // factor)
    if counts.dtype.is_float():
        beyond = beyond | counts.is_nan()
    if beyond.any():
        raise UnprocessableError(_outside(counts.filter(beyond)[0], f" {unit}"))
    return (counts * factor).round().cast(pl.Int64).cast(TIMESTAMP)


def in_range(times: pl.Series) -> pl.Series:
    """Return ``times``, timestamps or dates. Raises UnprocessableError for one outside the years 1 to 9999."""
    is_date = times.dtype == pl.Date
    first, last = (_LEAST_DAY, _MOST_DAY) if is_date else (_LEAST_US, _MOST_US)
    counts = times.to_physical()
    least, most = counts.min(), counts.max()
    if isinstance(least, int) and isinstance(most, int) and (least < first or most > last):
        raise UnprocessableError(_outside(least if least < first else most, " days" if is_date else " us"))
    return times


def _by_format(text: pl.Series, form: str) -> pl.Series:
    return text.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False, cache=False)


def _all_parsed(text: pl.Series, parsed: pl.Series, what: str) -> None:
    failed = parsed.is_null() & text.is_not_null()
    if failed.any():
        raise UnprocessableError(f"{str(text.filter(failed)[0])[:80]!r} is {what}")


def _outside(value: object, unit: str) -> str:
    return f"{value}{unit} since 1970 lies outside the years 1 to 9999; the unit ('epoch') may be another"
