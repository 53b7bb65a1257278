"""What the steps of a run tell the program that started it: counts, records that failed, the first failure."""

from __future__ import annotations

from typing import Any, NamedTuple

from sage_kernel.run_context import DeadLetter, Skipped
from sage_kernel.runtime.progress import MAX_DEAD_LETTERS


class Failure(NamedTuple):
    """Why a run ended: the node, and what it raised, as text: exceptions of engines do not all travel."""

    node: str
    op: str
    message: str


class RunReport:
    """Lives in a Ray actor of its own; every step of a run sends to it."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}
        self._letters: list[DeadLetter] = []
        self._skipped: list[Skipped] = []
        self._warnings: list[tuple[str, str]] = []
        self._failure: Failure | None = None

    def count(self, node: str, records_in: int, records_out: int, failed: int) -> None:
        """Add to a node's counts."""
        counts = self._counts.setdefault(node, {"records_in": 0, "records_out": 0, "records_failed": 0})
        for name, number in zip(counts, (records_in, records_out, failed), strict=True):
            counts[name] += number

    def dead_letters(self, letters: list[DeadLetter]) -> None:
        """Keep records that failed."""
        self._letters += letters[: MAX_DEAD_LETTERS - len(self._letters)]

    def skip(self, skipped: Skipped) -> None:
        """Keep what a source left out."""
        self._skipped.append(skipped)

    def warn(self, node: str, message: str) -> None:
        """Keep a warning."""
        self._warnings.append((node, message))

    def fail(self, failure: Failure) -> None:
        """Keep the first failure."""
        self._failure = self._failure or failure

    def read(self) -> dict[str, Any]:
        """Return everything."""
        return {
            "counts": self._counts,
            "letters": self._letters,
            "skipped": self._skipped,
            "warnings": self._warnings,
            "failure": self._failure,
        }
