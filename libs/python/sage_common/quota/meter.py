"""What is limited: so much of a unit in a period."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum


class Unit(Enum):
    """What is counted. Money is counted in billionths, as whole numbers."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    MONEY = "money"
    CONCURRENCY = "concurrency"

    # Enum's own goes through the name, in Python; every request looks units up some thirty times.
    __hash__ = object.__hash__


class Period(Enum):
    """When what was spent is free again: little by little within a minute, at the end of the UTC day or month, or,
    where what is limited is how much may be held at once, as soon as it is given back."""

    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"
    HELD = "held"

    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Meter:
    """One limit.

    Attributes:
        limit: in the unit, for the period.
    """

    unit: Unit
    period: Period
    limit: int

    @property
    def name(self) -> str:
        """By which records know it."""
        return f"{self.unit.value}_{self.period.value}"

    @property
    def is_budget(self) -> bool:
        """Whether it must outlive the processes and the server."""
        return self.period in (Period.DAY, Period.MONTH)


def period_start(period: Period, unix_seconds: float) -> float:
    """Return when the day or month of a time began, in seconds since 1970-01-01 UTC."""
    moment = datetime.fromtimestamp(unix_seconds, timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return (moment.replace(day=1) if period is Period.MONTH else moment).timestamp()


def period_end(period: Period, unix_seconds: float) -> float:
    """Return when the day or month of a time ends, in seconds since 1970-01-01 UTC."""
    moment = datetime.fromtimestamp(period_start(period, unix_seconds), timezone.utc)
    if period is Period.DAY:
        return moment.timestamp() + 86_400
    year, month = (moment.year, moment.month + 1) if moment.month < 12 else (moment.year + 1, 1)
    return moment.replace(year=year, month=month).timestamp()
