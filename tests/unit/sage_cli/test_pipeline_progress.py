"""Where nobody looks at a terminal, a run says now and then how far it is."""

from __future__ import annotations

import io

from rich.console import Console

from sage_cli.pipeline_progress import LINE_SECONDS, SILENT_SECONDS, ProgressLines
from sage_kernel.runtime.progress import NodeCounts


def test_a_short_run_says_nothing_and_a_long_one_a_line_now_and_then() -> None:
    now, written = [0.0], io.StringIO()
    lines = ProgressLines(Console(file=written, width=80), lambda: now[0])
    lines.update("s", NodeCounts(records_out=10))
    assert written.getvalue() == ""
    now[0] = SILENT_SECONDS
    lines.update("m", NodeCounts(records_in=7, records_out=5))
    assert written.getvalue() == "running    s:10 m:7\n"
    now[0] += LINE_SECONDS / 2
    lines.update("m", NodeCounts(records_in=9))
    assert written.getvalue().count("\n") == 1
    now[0] += LINE_SECONDS / 2
    lines.update("m", NodeCounts(records_in=11))
    assert written.getvalue().endswith("running    s:10 m:11\n")
