"""The header ``Retry-After`` in both of its forms (RFC 9110 §10.2.3), and OpenAI's ``retry-after-ms``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Final

MAX_RETRY_AFTER_SECONDS: Final = 600.0


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds after which to try again, at most ``MAX_RETRY_AFTER_SECONDS``; None where it is not said.

    Args:
        headers: of the response, found by name in any case. A date counts from the response's own ``Date``, so that the
            clocks of two machines need not agree.
        now: counts where the response has no ``Date``; with its time zone.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    seconds = None if milliseconds is None else milliseconds / 1000
    if seconds is None:
        seconds = _number(headers.get("Retry-After"))
    if seconds is None:
        until = _date(headers.get("Retry-After"))
        if until is None:
            return None
        seconds = max(0.0, (until - (_date(headers.get("Date")) or now)).total_seconds())
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds >= 0 else None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)
