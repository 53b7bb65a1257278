"""Windows as Python writes them: ``stream.window(Tumbling("1m"))``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tumbling:
    """Windows that lie side by side.

    Attributes:
        size: their length, as ``"1m"``.
        offset: what the starts are shifted by.
        lateness: how long after its end a window still takes records.
    """

    size: str | float
    offset: str | float = 0
    lateness: str | float = 0

    def parameters(self) -> dict[str, Any]:
        """Return what a window node says."""
        return _without_defaults(tumbling=self.size, offset=self.offset, lateness=self.lateness)


@dataclass(frozen=True)
class Sliding:
    """Windows that overlap.

    Attributes:
        size: their length.
        slide: from one start to the next.
        offset: what the starts are shifted by.
        lateness: how long after its end a window still takes records.
    """

    size: str | float
    slide: str | float
    offset: str | float = 0
    lateness: str | float = 0

    def parameters(self) -> dict[str, Any]:
        """Return what a window node says."""
        return _without_defaults(sliding=[self.size, self.slide], offset=self.offset, lateness=self.lateness)


@dataclass(frozen=True)
class Session:
    """Windows that end with a gap.

    Attributes:
        gap: longest time between two records of one window.
        lateness: how long after its end a window still takes records.
    """

    gap: str | float
    lateness: str | float = 0

    def parameters(self) -> dict[str, Any]:
        """Return what a window node says."""
        return _without_defaults(session=self.gap, lateness=self.lateness)


def _without_defaults(**parameters: Any) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value != 0}
