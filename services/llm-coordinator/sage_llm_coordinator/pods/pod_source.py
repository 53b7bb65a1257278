"""Where pods are read from: one list of them, and a watch of what changes after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol


class PodSourceError(Exception):
    """The API did not answer, or not with what was asked for.

    Attributes:
        retry_after_seconds: as the API asks for it; None where it does not.
    """

    def __init__(self, what: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(what)
        self.retry_after_seconds = retry_after_seconds


class ExpiredVersionError(PodSourceError):
    """The API no longer has the changes since the version that was asked for (410 Gone): list again."""


class Change(Enum):
    """What an event of a watch says."""

    SET = "set"
    DELETED = "deleted"
    BOOKMARK = "bookmark"


@dataclass(frozen=True, slots=True)
class PodEvent:
    """One event of a watch.

    Attributes:
        pod: as the API gives it; of a bookmark its version only.
        version: to watch on from.
    """

    change: Change
    pod: Mapping[str, Any]
    version: str


class PodSource(Protocol):
    """Lists and watches the pods of one namespace and one selector."""

    async def list(self) -> tuple[Sequence[Mapping[str, Any]], str]:
        """Return the pods and the version to watch from. Raises PodSourceError."""
        ...

    def watch(self, version: str) -> AsyncIterator[PodEvent]:
        """Give the changes after ``version``; ends where the API ends it.

        Raises:
            ExpiredVersionError: the version is too old.
            PodSourceError: the connection broke, or an answer is no event.
        """
        ...
