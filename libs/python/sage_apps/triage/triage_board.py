"""What a triage has come to so far: tickets by category, counts by window, and incidents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sage_apps.record_times import time_of
from sage_apps.triage.incidents import Incident, incidents_of
from sage_apps.triage.tickets import CATEGORIES, UNSORTED
from sage_apps.triage.triage_pipeline import ALERTS, TICKETS, WINDOWS


@dataclass(frozen=True)
class SortedTicket:
    """A ticket with what was said of it.

    Attributes:
        confidence: the category's share of the neighbours' votes, from 0 to 1; None where a model said it.
        similar: the resolved ticket that is most like it.
        resolution: what the answer to that one was.
    """

    id: str
    at: datetime
    category: str
    urgency: str
    confidence: float | None
    text: str
    similar: str
    resolution: str


class TriageBoard:
    """Takes up the records of a run or a job, in any order, as they come.

    Args:
        categories: those that tickets may have.
        most_kept: of tickets, windows and alerts, the latest; None keeps all, which a stream without end does not end.
    """

    def __init__(self, categories: Sequence[str] = CATEGORIES, most_kept: int | None = None) -> None:
        self._categories = categories
        self._most = most_kept
        self._tickets_of: Counter[str] = Counter()
        self._urgent_of: Counter[str] = Counter()
        self.tickets: list[SortedTicket] = []
        self._counts: dict[datetime, dict[str, int]] = {}
        self._alerts: list[Mapping[str, Any]] = []

    def take(self, collection: str, records: Iterable[Mapping[str, Any]]) -> list[SortedTicket]:
        """Take up records of a collection of the pipeline; return the tickets among them."""
        if collection == TICKETS:
            found = [_ticket(one) for one in records]
            self._count(found)
            return found
        if collection == WINDOWS:
            for one in records:
                self._counts.setdefault(time_of(one["window"]["end"]), {})[str(one["category"])] = int(one["tickets"])
            if self._most is not None:
                for end in self.window_ends[: -self._most]:
                    del self._counts[end]
        elif collection == ALERTS:
            self._alerts += records
            _keep_latest(self._alerts, self._most)
        return []

    def _count(self, tickets: Sequence[SortedTicket]) -> None:
        for one in tickets:
            self._tickets_of[one.category] += 1
            self._urgent_of[one.category] += one.urgency == "high"
        self.tickets += tickets
        _keep_latest(self.tickets, self._most)

    @property
    def count(self) -> int:
        """How many tickets were sorted."""
        return self._tickets_of.total()

    @property
    def incidents(self) -> list[Incident]:
        """What the alerts so far are about."""
        return incidents_of(self._alerts)

    @property
    def window_ends(self) -> list[datetime]:
        """The ends of the windows that had tickets, in order."""
        return sorted(self._counts)

    def counts(self, category: str) -> list[int]:
        """Return how many tickets of a category each of those windows had."""
        return [self._counts[end].get(category, 0) for end in self.window_ends]

    def totals(self) -> list[tuple[str, int, int]]:
        """Return category, tickets and urgent ones, in the order of the categories; tickets of none of them last."""
        others = [name for name in self._tickets_of if name not in self._categories]
        return [(name, self._tickets_of[name], self._urgent_of[name]) for name in (*self._categories, *others)]


def _keep_latest(values: list[Any], most: int | None) -> None:
    if most is not None:
        del values[:-most]


def _ticket(record: Mapping[str, Any]) -> SortedTicket:
    similar = record.get("similar") or {}
    return SortedTicket(
        id=str(record["id"]),
        at=time_of(record["at"]),
        category=str(record.get("category") or UNSORTED),
        urgency=str(record.get("urgency") or ""),
        confidence=record.get("confidence"),
        text=str(record["text"]),
        similar=str(similar.get("text") or ""),
        resolution=str(similar.get("resolution") or ""),
    )
