"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Level(str, Enum):
    """How bad it is."""

    GOOD = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what was looked at.
        detail: what was found.
        remedy: what to do; empty where nothing needs doing.
    """

    subject: str
    level: Level
    detail: str
    remedy: str = ""


class Check(Protocol):
    """Looks at one thing, or at a few of one sort."""

    def __call__(self) -> Iterable[Finding]: ...
