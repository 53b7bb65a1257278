"""Counts by node of a pipeline that runs, shown while it does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live

from sage_cli.fitted_tables import Column, fitted

if TYPE_CHECKING:
    from sage_kernel.runtime.progress import NodeCounts
    from sage_kernel.spec import PipelineSpec

_REFRESHES_A_SECOND = 8
_COLUMNS = (
    Column("node"),
    Column("op", drop=2),
    Column("in", right=True),
    Column("out", right=True),
    Column("failed", right=True, drop=1),
    Column("busy s", right=True, drop=3),
)


class ProgressTable:
    """The counts of each node, as a table no wider than its console."""

    def __init__(self, spec: PipelineSpec, console: Console) -> None:
        self._console = console
        self._operators = {node_id: node.op for node_id, node in spec.nodes.items()}
        self._counts: dict[str, NodeCounts] = {}

    def update(self, node_id: str, counts: NodeCounts) -> None:
        """Take the counts of a node; they change while they are shown."""
        self._counts[node_id] = counts

    def __rich__(self) -> Group:
        rows = [self._row(node_id, op) for node_id, op in self._operators.items()]
        # A table longer than the terminal would scroll away at each refresh.
        most = max(1, self._console.height - 4)
        return Group(*fitted(self._console.width, _COLUMNS, rows[:most]))

    def _row(self, node_id: str, op: str) -> tuple[str, ...]:
        counts = self._counts.get(node_id)
        if counts is None:
            return (node_id, op, "", "", "", "")
        failed = f"{counts.records_failed:,}" if counts.records_failed else ""
        return (
            node_id, op, f"{counts.records_in:,}", f"{counts.records_out:,}", failed, f"{counts.busy_seconds:.1f}",
        )  # fmt: skip


@contextlib.contextmanager
def progress_table(spec: PipelineSpec, console: Console) -> Iterator[Callable[[str, NodeCounts], None] | None]:
    """Show the counts while the body runs; yield what takes them, or None where nobody looks on."""
    if not console.is_terminal:
        yield None
        return
    table = ProgressTable(spec, console)
    with Live(table, console=console, refresh_per_second=_REFRESHES_A_SECOND):
        yield table.update
