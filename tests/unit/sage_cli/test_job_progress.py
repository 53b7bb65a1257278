"""How far a job has come, as people see it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sage_cli.job_progress import JobProgress, fraction_of, job_progress, lag_of, line_of
from sage_client.jobs.job_views import JobView, NodeProgressView

NOW = 1_000_000.0


def job(*nodes: NodeProgressView, waiting: str = "", tasks: int = 2) -> JobView:
    return JobView("j1", "p", "running", progress=nodes, waiting=waiting, tasks=tasks)


def node(node_id: str = "n", came_in: int = 0, records_out: int = 0, failed: int = 0, **more: int) -> NodeProgressView:
    return NodeProgressView(node_id, came_in, records_out, failed, **more)


READ = node("files", 0, 1500, 500, records_total=4000)
OPEN = node("ask_the_model_about_it", 1500, 1200, 3)
LATE = node("windows", 10, watermark_unix_ms=int((NOW - 90) * 1000))


def drawn(width: int, height: int, shown: JobView) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    progress = JobProgress(console, lambda: NOW)
    progress.update(shown)
    console.print(progress)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_share_is_shown_where_the_number_of_records_is_known() -> None:
    assert [fraction_of(node) for node in (READ, OPEN, LATE)] == [0.5, None, None]
    assert fraction_of(node(records_total=0)) == 1.0
    assert fraction_of(node(records_out=9, records_total=3)) == 1.0


@pytest.mark.parametrize(
    ("behind", "told"), [(0.5, "0.5s"), (90, "90.0s"), (121, "2m"), (7201, "2h"), (200_000, "2d"), (-5, "0.0s")]
)
def test_lag_is_told_in_the_unit_that_fits(behind: float, told: str) -> None:
    assert lag_of(node(watermark_unix_ms=int((NOW - behind) * 1000)), NOW) == told
    assert lag_of(READ, NOW) == ""


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_has_a_row_a_node_within_its_width(width: int) -> None:
    text = drawn(width, 24, job(READ, OPEN, LATE, waiting="task 1: no worker has a GPU"))
    assert all(len(line) <= width for line in text.splitlines())
    assert "j1  running  2 tasks" in text
    assert "1,500" in text
    assert "90.0s" in text
    assert ("50%" in text) == ("━" in text) == (width >= 80)


def test_a_long_graph_stays_within_the_terminals_height() -> None:
    nodes = [node(f"n{number}") for number in range(50)]
    assert len(drawn(80, 20, job(*nodes)).splitlines()) < 20


def test_elsewhere_each_change_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert line_of(job(READ, OPEN, LATE, waiting="for a worker"), NOW) == (
        "running    files:1500(50%) ask_the_model_about_it:1200 windows:0(lag 90.0s) waiting: for a worker"
    )
    with job_progress(Console(file=io.StringIO())) as show:
        for shown in (job(READ), job(READ), job(READ, OPEN)):
            show(shown)
    assert capsys.readouterr().err.splitlines() == [
        "running    files:1500(50%)",
        "running    files:1500(50%) ask_the_model_about_it:1200",
    ]
