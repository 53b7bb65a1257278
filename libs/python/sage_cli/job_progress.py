"""How far a job has come, shown while it runs: a bar a node on a terminal, a line a change elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from sage_client.jobs.job_views import JobView, NodeProgressView

_REFRESHES_A_SECOND = 4
_BAR_COLUMNS = 20
# Of the columns beside the bar, at most: counts, percent and lag.
_ROOM_FOR_BARS = 70


class JobProgress:
    """The counts of each node, summed over tasks, no wider and no longer than the console."""

    def __init__(self, console: Console, now: Callable[[], float] = time.time) -> None:
        self._console = console
        self._now = now
        self._job: JobView | None = None

    def update(self, job: JobView) -> None:
        """Take the job after a change."""
        self._job = job

    def __rich__(self) -> Group:
        job = self._job
        if job is None:
            return Group()
        lines = [Text(f"{job.job_id}  {job.state}" + (f"  {_tasks(job)}" if job.tasks else ""))]
        if job.waiting:
            lines.append(Text(f"waiting: {job.waiting}", style="yellow"))
        table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
        bars = self._console.width >= _ROOM_FOR_BARS and any(fraction_of(node) is not None for node in job.progress)
        lags = any(node.watermark_unix_ms is not None for node in job.progress)
        table.add_column("node", overflow="fold")
        for name in ("in", "out", "failed"):
            table.add_column(name, justify="right", no_wrap=True)
        if bars:
            table.add_column("", width=_BAR_COLUMNS)
            table.add_column("", justify="right", no_wrap=True)
        if lags:
            table.add_column("lag", justify="right", no_wrap=True)
        # A table longer than the terminal would scroll away at each refresh.
        for node in job.progress[: max(1, self._console.height - 5)]:
            cells: list[Text | ProgressBar | str] = [
                node.node_id,
                f"{node.records_in:,}",
                f"{node.records_out:,}",
                f"{node.records_failed:,}" if node.records_failed else "",
            ]
            if bars:
                fraction = fraction_of(node)
                bar = "" if fraction is None else ProgressBar(total=1.0, completed=fraction, width=_BAR_COLUMNS)
                cells += [bar, "" if fraction is None else f"{fraction:.0%}"]
            if lags:
                cells.append(lag_of(node, self._now()))
            table.add_row(*cells)
        return Group(*lines, table) if job.progress else Group(*lines)


@contextlib.contextmanager
def job_progress(console: Console) -> Iterator[Callable[[JobView], None]]:
    """Yield what shows a job after each change, while the body runs."""
    if not console.is_terminal:
        yield _Lines()
        return
    shown = JobProgress(console)
    with Live(shown, console=console, refresh_per_second=_REFRESHES_A_SECOND, transient=True):
        yield shown.update


def line_of(job: JobView, now: float) -> str:
    """Return the state and the counts of a job as a line."""
    counts = []
    for node in job.progress:
        fraction, lag = fraction_of(node), lag_of(node, now)
        percent = "" if fraction is None else f"({fraction:.0%})"
        counts.append(f"{node.node_id}:{node.records_out}{percent}{f'(lag {lag})' if lag else ''}")
    waiting = f" waiting: {job.waiting}" if job.waiting else ""
    return f"{job.state:<10} {' '.join(counts)}{waiting}"


def fraction_of(node: NodeProgressView) -> float | None:
    """Return how much of its records a node has given out, 0 to 1; None where their number is not known."""
    if node.records_total is None:
        return None
    done = node.records_out + node.records_failed
    return min(1.0, done / node.records_total) if node.records_total else 1.0


def lag_of(node: NodeProgressView, now: float) -> str:
    """Return how far event time is behind the time of day; empty without event time."""
    if node.watermark_unix_ms is None:
        return ""
    seconds = max(0.0, now - node.watermark_unix_ms / 1000)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.1f}s"


def _tasks(job: JobView) -> str:
    return "1 task" if job.tasks == 1 else f"{job.tasks} tasks"


class _Lines:
    """Writes a line a change: a job tells of itself also when nothing has."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, job: JobView) -> None:
        line = line_of(job, time.time())
        if line != self._last:
            self._last = line
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
