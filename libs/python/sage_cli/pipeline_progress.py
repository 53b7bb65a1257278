"""Counts by node of a pipeline that runs, shown while it does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live

from sage_cli.fitted_tables import Column, fitted
from sage_common.tasks import end_tasks
from sage_platform.background import keep_running

if TYPE_CHECKING:
    from sage_kernel.runtime.progress import NodeCounts
    from sage_kernel.spec import PipelineSpec

_REFRESHES_A_SECOND = 8
SILENT_SECONDS = 2.0
LINE_SECONDS = 10.0
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


class ProgressLines:
    """The same in a file: a line now and then, the first when a run has taken longer than people wait in silence."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._now = now
        self._next = now() + SILENT_SECONDS
        self._counts: dict[str, NodeCounts] = {}

    def update(self, node_id: str, counts: NodeCounts) -> None:
        """Take the counts of a node; they change while they are shown."""
        self._counts[node_id] = counts
        if self._now() >= self._next:
            self.show()

    def show(self) -> None:
        """Print a line."""
        self._next = self._now() + LINE_SECONDS
        shown = (f"{node}:{max(c.records_in, c.records_out)}" for node, c in self._counts.items())
        self._console.print(f"running    {' '.join(shown)}".rstrip(), markup=False, soft_wrap=True)

    async def keep_showing(self) -> None:
        """Print lines where nothing changes either, until cancelled."""
        while True:
            await asyncio.sleep(max(0.1, self._next - self._now()))
            if self._now() >= self._next:
                self.show()


@contextlib.asynccontextmanager
async def progress(spec: PipelineSpec, console: Console) -> AsyncIterator[Callable[[str, NodeCounts], None]]:
    """Show the counts while the body runs, as a table, or as lines in a file; yield what takes them."""
    if not console.is_terminal:
        lines = ProgressLines(console)
        showing = keep_running(lines.keep_showing, name="progress")
        try:
            yield lines.update
        finally:
            await end_tasks(showing)
        return
    table = ProgressTable(spec, console)
    with Live(table, console=console, refresh_per_second=_REFRESHES_A_SECOND):
        yield table.update
