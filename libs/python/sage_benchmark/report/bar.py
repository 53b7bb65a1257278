"""A figure that has something to reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """A figure beside what it has to reach. ``at_most`` says which side of the bar is good."""

    name: str
    value: float
    bar: float
    unit: str = ""
    at_most: bool = True

    @property
    def reached(self) -> bool:
        """Whether the figure is on the good side."""
        return self.value <= self.bar if self.at_most else self.value >= self.bar
