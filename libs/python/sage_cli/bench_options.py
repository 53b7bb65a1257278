"""Options that the benchmarks under load share."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sage_benchmark.live.comparison import ComparisonPlan
    from sage_benchmark.report.benchmark_report import BenchmarkReport

QUICK_SECONDS = 20.0

Engines = Annotated[int, typer.Option(min=1, help="Simulated engines.")]
Seconds = Annotated[float, typer.Option(min=1, help="Time in which requests arrive, in each run.")]
Load = Annotated[float, typer.Option(min=0.01, help="Offered load, as a multiple of what saturates the engines.")]
Cv = Annotated[float, typer.Option(min=0.01, help="Variation of the gaps between arrivals: 1 is Poisson, 3 is bursty.")]
Repetitions = Annotated[int, typer.Option("--repetitions", "-n", min=1, help="Runs of each, with a seed of its own.")]
Seed = Annotated[int, typer.Option(help="First seed; repetitions take the next ones.")]
Tenants = Annotated[int, typer.Option(min=1, help="Tenants that share the load equally.")]
Trace = Annotated[
    Path | None,
    typer.Option(help="CSV of arrival time, input tokens, output tokens to play instead of the mixed load."),
]
Greedy = Annotated[bool, typer.Option("--greedy-tenant", help="The first tenant offers ten times its share.")]
Fault = Annotated[str, typer.Option(help="After a third of each run one engine gets `slow` (5×) or `die`s.")]
Quick = Annotated[bool, typer.Option("--quick", help="One run of at most 20 s each, for a first look.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the folder of the report goes.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def live_plan(
    *,
    engines: int,
    seconds: float,
    load: float,
    cv: float,
    repetitions: int,
    seed: int,
    tenants: int,
    trace: Path | None,
    greedy: bool,
    fault: str,
    quick: bool,
) -> ComparisonPlan:
    """Make the plan of a live benchmark.

    Raises:
        InvalidRequestError: no such fault, or a greedy tenant in a trace.
    """
    from sage_benchmark.live.comparison import ComparisonPlan
    from sage_benchmark.live.engine_fault import EngineFault, LiveFault
    from sage_benchmark.workload.load_settings import LoadSettings
    from sage_common.errors import InvalidRequestError

    if quick:
        seconds, repetitions = min(seconds, QUICK_SECONDS), 1
    if trace is not None and greedy:
        raise InvalidRequestError("--greedy-tenant and --trace exclude each other: a trace names no tenants")
    if fault and fault not in {kind.value for kind in LiveFault}:
        known = ", ".join(kind.value for kind in LiveFault)
        raise InvalidRequestError(f"no fault is called {fault!r}; known: {known}", param="fault")
    return ComparisonPlan(
        LoadSettings(engines, seconds, load, cv, tenants, greedy, trace),
        repetitions,
        seed,
        fault=EngineFault(LiveFault(fault), seconds / 3) if fault else None,
    )


def names_in(text: str) -> list[str]:
    """Split a list of names with commas; each once, in order."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def command_line() -> str:
    """What was typed, to stand in the report."""
    import shlex
    import sys

    return shlex.join(["sage", *sys.argv[1:]])


def show(report: BenchmarkReport, root: Path, name: str, *, as_json: bool) -> None:
    """Write the report and print it."""
    import orjson
    from rich.markdown import Markdown

    from sage_benchmark.report.markdown import render_markdown
    from sage_benchmark.report.writing import write_report
    from sage_cli.consoles import notes, output

    folder = write_report(root, name, datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ"), report)
    if as_json:
        typer.echo(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2).decode())
    elif output().is_terminal:
        output().print(Markdown(render_markdown(report)))
    else:
        typer.echo(render_markdown(report))
    notes().print(f"written to {folder}")
    if not all(bar.reached for bar in report.bars):
        notes().print("a bar was missed; other load on this machine is the first thing to rule out")
