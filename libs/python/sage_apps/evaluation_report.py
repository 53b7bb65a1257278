"""What an application's evaluation comes to: tables of figures, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EvaluationTable:
    """Figures of several ways to do one thing.

    Attributes:
        title: what was measured, and over how many cases.
        columns: heads, that of the first column first.
        rows: the name of a way, then a figure for each further column; None where there is none.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """An evaluation that was run.

    Attributes:
        data: what it was run on, in one line.
        models: that took part.
        seconds: by the clock.
        notes: what a reader of the figures has to know.
    """

    application: str
    data: str
    models: tuple[str, ...]
    seconds: float
    tables: tuple[EvaluationTable, ...]
    notes: tuple[str, ...] = ()


def share(count: int, of: int) -> float | None:
    """Return a share; None of nothing."""
    return count / of if of else None
