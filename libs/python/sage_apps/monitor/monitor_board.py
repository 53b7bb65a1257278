"""What a monitor has seen so far: topics with their groups by window, and articles that tell the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sage_apps.monitor.monitor_pipeline import DUPLICATES, GROUPS, MEMBERS
from sage_apps.record_times import time_of


@dataclass(frozen=True)
class TopicGroup:
    """The articles of a topic that came within a window.

    Attributes:
        topic: number of the cluster.
        first_seen, last_seen: when the first and the last of these articles came.
    """

    topic: int
    label: str
    articles: int
    first_seen: datetime
    last_seen: datetime
    titles: tuple[str, ...]


@dataclass(frozen=True)
class DuplicatePair:
    """An article and an earlier one that tells the same."""

    at: datetime
    title: str
    earlier_title: str
    similarity: float


class MonitorBoard:
    """Takes up the records of a run or a job, in any order, as they come.

    Args:
        most_kept: of groups and of pairs, the latest; None keeps all, which a stream without end does not end.
    """

    def __init__(self, most_kept: int | None = None) -> None:
        self._most = most_kept
        self.pairs = 0
        self.groups: list[TopicGroup] = []
        self.duplicates: list[DuplicatePair] = []
        self.articles = 0

    def take(self, collection: str, records: Iterable[Mapping[str, Any]]) -> list[TopicGroup | DuplicatePair]:
        """Take up records of a collection of the pipeline; return what is to be shown of them."""
        if collection == GROUPS:
            groups = [_group(one) for one in records]
            self.groups += groups
            _keep_latest(self.groups, self._most)
            return [*groups]
        if collection == DUPLICATES:
            pairs = [_pair(one) for one in records]
            self.pairs += len(pairs)
            self.duplicates += pairs
            _keep_latest(self.duplicates, self._most)
            return [*pairs]
        if collection == MEMBERS:
            self.articles += sum(1 for _ in records)
        return []

    def topics(self) -> list[list[TopicGroup]]:
        """Return the groups of each topic in the order of time, the topics by when they were first seen."""
        found: dict[int, list[TopicGroup]] = {}
        for group in sorted(self.groups, key=lambda one: one.first_seen):
            found.setdefault(group.topic, []).append(group)
        return list(found.values())


def _keep_latest(values: list[Any], most: int | None) -> None:
    if most is not None:
        del values[:-most]


def _group(record: Mapping[str, Any]) -> TopicGroup:
    return TopicGroup(
        topic=int(record["topic"] or 0),
        label=str(record["label"] or ""),
        articles=int(record["articles"]),
        first_seen=time_of(record["first_seen"]),
        last_seen=time_of(record["last_seen"]),
        titles=tuple(map(str, record["titles"])),
    )


def _pair(record: Mapping[str, Any]) -> DuplicatePair:
    return DuplicatePair(
        time_of(record["at"]), str(record["title"]), str(record["title_right"]), float(record["similarity"])
    )
