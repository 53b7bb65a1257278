"""Printing what an application's evaluation came to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage_apps.evaluation_report import EvaluationReport


def print_report(report: EvaluationReport, *, as_json: bool) -> None:
    """Print tables to stdout and what is to be known of them to stderr, or all of it as JSON."""
    from sage_cli.consoles import notes, output, print_json
    from sage_cli.fitted_tables import Column, print_rows

    if as_json:
        print_json(report)
        return
    console = output()
    for table in report.tables:
        console.print(table.title, style="bold", markup=False)
        columns = [Column(table.columns[0], wrap=True), *(Column(name, right=True) for name in table.columns[1:])]
        print_rows(console, columns, [[name, *map(_figure, figures)] for name, figures in table.rows])
        console.print()
    for note in report.notes:
        notes().print(note, markup=False, style="dim")
    models = ", ".join(report.models)
    notes().print(f"{report.data}; {models}; {report.seconds:.1f} s", markup=False, style="dim")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value == int(value) and abs(value) > 1 else f"{value:.2f}"
