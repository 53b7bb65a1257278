"""Alerts put together: windows of one category that touch are one incident."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sage_apps.record_times import time_of


@dataclass(frozen=True)
class Incident:
    """A category that had too many tickets.

    Attributes:
        raised_at: end of the first window that gave an alert, when it was known.
        ended_at: end of the last one.
        most: tickets of the fullest window.
        windows: how many gave an alert.
        example: the last ticket of the fullest window.
    """

    category: str
    started_at: datetime
    raised_at: datetime
    ended_at: datetime
    most: int
    windows: int
    example: str

    def overlaps(self, start: datetime, end: datetime) -> bool:
        """Whether its windows have something of the half-open time from ``start`` to ``end``."""
        return self.started_at < end and start < self.ended_at


def incidents_of(alerts: Iterable[Mapping[str, Any]]) -> list[Incident]:
    """Return the incidents that alerts are about, in the order in which they were raised."""
    found: list[Incident] = []
    open_: dict[str, int] = {}
    for alert in sorted(alerts, key=lambda one: time_of(one["window"]["start"])):
        start, end = time_of(alert["window"]["start"]), time_of(alert["window"]["end"])
        category, tickets = str(alert["category"]), int(alert["tickets"])
        at = open_.get(category)
        if at is None or start > found[at].ended_at:
            open_[category] = len(found)
            found.append(Incident(category, start, end, end, tickets, 1, str(alert["last"])))
            continue
        was = found[at]
        grown = replace(was, ended_at=end, windows=was.windows + 1)
        found[at] = replace(grown, most=tickets, example=str(alert["last"])) if tickets > was.most else grown
    return found
