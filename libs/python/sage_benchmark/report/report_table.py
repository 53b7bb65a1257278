"""A table of a report that is made for one kind of benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReportTable:
    """Cells as they are shown. ``explained`` says what a reader must know of the columns."""

    title: str
    explained: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
