"""``sage bench dataflow``: what pipelines cost on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sage_benchmark.dataflow.dataflow_benchmark import DataflowResult


def dataflow(
    only: Annotated[str, typer.Option("--only", help="Measurements, separated by commas; all when not given.")] = "",
    events: Annotated[int, typer.Option("--events", min=1000, help="Events of the largest stream.")] = 2_000_000,
    repetitions: Annotated[int, typer.Option("--repetitions", "-n", min=1, help="Times each is run.")] = 3,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the events.")] = 7,
    quick: Annotated[bool, typer.Option("--quick", help="A minute, to see that everything works.")] = False,
    output_directory: Annotated[
        Path, typer.Option("--output", "-o", help="Where result.json, report.md and chart.png go.")
    ] = Path("bench-results/dataflow"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure pipelines: windows, joins and stateless steps from files, checkpoints; each on one core."""
    import orjson

    from sage_benchmark.dataflow.dataflow_benchmark import quick_plan, run
    from sage_benchmark.dataflow.dataflow_report import write_report
    from sage_benchmark.dataflow.measurement import DataflowPlan
    from sage_cli.bench_options import names_in
    from sage_cli.consoles import notes

    plan = DataflowPlan(events, repetitions, seed)
    result = run(quick_plan(plan) if quick else plan, names_in(only), lambda step: notes().print(step))
    write_report(result, output_directory)
    if as_json:
        typer.echo(orjson.dumps(result.to_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(result)
    notes().print(f"written to {output_directory}")
    if not quick and not result.all_reached:
        notes().print("a bar was missed; other load on this machine is the first thing to rule out")
    if result.failed:
        raise typer.Exit(1)


def _print(result: DataflowResult) -> None:
    from rich.table import Table

    from sage_benchmark.dataflow.dataflow_report import COLUMNS, rows
    from sage_cli.consoles import output

    table = Table(title="Pipelines", title_justify="left", box=None, header_style="bold")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("figure", "") else "right")
    for row in rows(result):
        table.add_row(*row)
    output().print(table)
    for reason in result.failed.values():
        output().print(f"failed: {reason}")
