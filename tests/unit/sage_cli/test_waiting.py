"""What a command says of its waiting where stderr is a file."""

from __future__ import annotations

import io

from rich.console import Console

from sage_cli.waiting import WaitDisplay


def test_a_file_gets_a_line_for_each_thing_and_none_when_only_its_figures_change() -> None:
    written = io.StringIO()
    display = WaitDisplay("", Console(file=written, width=100))
    for text in ("an answer of a (4 outstanding)", "an answer of a (3 outstanding)", "b: a is starting (40 %)"):
        display.show(f"waiting for {text}")
    assert written.getvalue().splitlines() == [
        "waiting for an answer of a (4 outstanding)",
        "waiting for b: a is starting (40 %)",
    ]
