"""Tables that fit their terminal: columns are left out, or rows become lists, before a word is broken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP = 2
Cell = str | Text


class Column(NamedTuple):
    """A column.

    Attributes:
        right: whether its cells are aligned right.
        wrap: whether its cells may go over several lines, cut between words.
        drop: columns with the highest number are left out first where there is no room; 0 stays.
    """

    name: str
    right: bool = False
    wrap: bool = False
    drop: int = 0


def print_rows(console: Console, columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, title: str = "") -> None:
    """Print rows as a table no wider than the console."""
    for renderable in fitted(console.width, columns, list(rows), title):
        console.print(renderable, overflow="fold", soft_wrap=not isinstance(renderable, Table))


def fitted(
    width: int, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], title: str = ""
) -> list[Table | Text]:
    """Return what shows the rows in ``width`` characters: one table, or a list for each row where none would fit."""
    cells = [[_text(cell) for cell in row] for row in rows]
    shown = list(range(len(columns)))
    # A column without a single value says nothing.
    shown = [at for at in shown if not cells or columns[at].drop == 0 or any(row[at].plain for row in cells)]
    while _least(columns, cells, shown) > width and any(columns[at].drop for at in shown):
        shown.remove(max((at for at in shown if columns[at].drop), key=lambda at: columns[at].drop))
    if _least(columns, cells, shown) > width:
        return _lists(columns, cells, title)
    table = Table(box=None, pad_edge=False, header_style="bold", title=title or None, title_justify="left")
    for at, columns_width in zip(shown, _widths(columns, cells, shown, width), strict=True):
        column = columns[at]
        table.add_column(
            column.name, justify="right" if column.right else "left", no_wrap=not column.wrap, width=columns_width
        )
    for row in cells:
        table.add_row(*(row[at] for at in shown))
    return [table]


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def _natural(columns: Sequence[Column], cells: Sequence[Sequence[Text]], at: int) -> int:
    return max([Text(columns[at].name).cell_len, *(line.cell_len for row in cells for line in row[at].split() or [])])


def _word(columns: Sequence[Column], cells: Sequence[Sequence[Text]], at: int) -> int:
    if not columns[at].wrap:
        return _natural(columns, cells, at)
    words = [columns[at].name, *(word for row in cells for word in row[at].plain.split())]
    return max(Text(word).cell_len for word in words if word) if any(words) else 0


def _least(columns: Sequence[Column], cells: Sequence[Sequence[Text]], shown: Sequence[int]) -> int:
    return sum(_word(columns, cells, at) for at in shown) + GAP * (len(shown) - 1)


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[Text]], shown: Sequence[int], width: int) -> list[int]:
    """Give each column its longest word, and what is left to those that want more, a character at a time."""
    widths = {at: _word(columns, cells, at) for at in shown}
    natural = {at: _natural(columns, cells, at) for at in shown}
    left = width - sum(widths.values()) - GAP * (len(shown) - 1)
    while left > 0 and (wanting := [at for at in shown if widths[at] < natural[at]]):
        share = max(1, left // len(wanting))
        for at in wanting:
            more = min(share, natural[at] - widths[at], left)
            widths[at] += more
            left -= more
    return [max(1, widths[at]) for at in shown]


def _lists(columns: Sequence[Column], cells: Sequence[Sequence[Text]], title: str) -> list[Table | Text]:
    parts: list[Table | Text] = [Text(title, style="bold")] if title else []
    label = max(len(column.name) for column in columns)
    for number, row in enumerate(cells):
        if number:
            parts.append(Text(""))
        parts += [
            Text.assemble((f"{column.name:<{label}} ", "bold"), cell)
            for column, cell in zip(columns, row, strict=True)
            if cell.plain
        ]
    return parts
