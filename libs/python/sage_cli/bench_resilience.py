"""``sage bench streams``, ``overload``, ``limits``, ``hosts`` and ``soak``: many streams, too much load, what dies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sage_cli.consoles import AsJson

if TYPE_CHECKING:
    from sage_benchmark.resilience.resilience_result import ResilienceResult

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Where result.json and chart.png go.")]


def streams(
    count: Annotated[int, typer.Option("--streams", min=1, help="Streams that are held against the bars.")] = 500,
    tokens_per_second: Annotated[float, typer.Option(min=0.1, help="Of each stream.")] = 20.0,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long each of those streams lasts.")] = 20.0,
    ladder: Annotated[
        str, typer.Option(help="Numbers of streams to climb, until gaps have grown by 50 ms; empty for none.")
    ] = "100,250,500,750,1000,1400,1800,2200",
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure many streams at once through one gateway, and what a token costs; takes about three minutes."""
    from sage_benchmark.resilience.streams import run
    from sage_benchmark.resilience.streams_plan import StreamsPlan

    levels = tuple(int(level) for level in ladder.split(",") if level.strip())
    plan = StreamsPlan(count, 1e3 / tokens_per_second, seconds, levels)
    show(run(plan), output or Path("bench-results/streams"), as_json=as_json)


def overload(
    load: Annotated[
        float, typer.Option(min=1.0, help="Offered load, in multiples of what saturates the engines.")
    ] = 5.0,
    seconds: Annotated[float, typer.Option(min=2.0, help="How long the overload lasts.")] = 60.0,
    engines: Annotated[
        int, typer.Option(min=1, help="Simulated engines; load generator and mesh share the cores with them.")
    ] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the arrivals.")] = 1,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure an overload and what is left of it afterwards; takes about two minutes and starts its own mesh."""
    from sage_benchmark.resilience.overload import OverloadPlan, run

    plan = OverloadPlan(engines, load, seconds, seed=seed)
    show(run(plan), output or Path("bench-results/overload"), as_json=as_json)


def limits(
    requests: Annotated[int, typer.Option(min=50, help="Requests that fit into the budget.")] = 2_000,
    clients: Annotated[int, typer.Option(min=2, help="Clients that spend it together.")] = 8,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure one budget at two gateways, one of which is killed; takes a minute and starts its own mesh."""
    from sage_benchmark.resilience.shared_budget import SharedBudgetPlan, run

    show(run(SharedBudgetPlan(requests, clients)), output or Path("bench-results/limits"), as_json=as_json)


def hosts(
    streams_at_once: Annotated[int, typer.Option("--streams", min=4, help="Streams in each part.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the packets that are lost.")] = 1,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure a mesh over three hosts with a bad network between them; takes minutes, and needs root on Linux."""
    from sage_benchmark.hosts.hosts_benchmark import HostsPlan, run

    show(run(HostsPlan(streams_at_once, seed=seed)), output or Path("bench-results/hosts"), as_json=as_json)


def soak(
    seconds: Annotated[float, typer.Option(min=30.0, help="How long there is load.")] = 1800.0,
    kill_seconds: Annotated[float, typer.Option(min=1.0, help="Between two kills of a process.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Seed of the load, of the kills and of the packets that are lost.")] = 1,
    files: Annotated[
        Path | None, typer.Option("--keep", help="Folder that keeps the hosts' files and logs; else they are removed.")
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Kill a process of three hosts every ten seconds and account for every request; needs root on Linux."""
    from sage_benchmark.soak.soak_benchmark import run
    from sage_benchmark.soak.soak_plan import SoakPlan

    plan = SoakPlan(seconds, kill_seconds, seed=seed)
    show(run(plan, files), output or Path("bench-results/soak"), as_json=as_json)


def show(result: ResilienceResult, directory: Path, *, as_json: bool) -> None:
    """Write a result and print it."""
    from sage_cli.consoles import notes, output, print_json
    from sage_cli.fitted_tables import Column, print_rows

    written = result.write(directory)
    if as_json:
        print_json(result.to_json())
    else:
        for table in result.tables:
            first, *others = table.columns
            print_rows(
                output(), [Column(first), *(Column(name, right=True) for name in others)], table.rows, title=table.title
            )
            notes().print(table.explained, markup=False, style="dim")
        columns = [Column("figure", wrap=True), Column("measured", right=True), Column("bar", right=True), Column("")]
        rows = [
            [
                bar.name,
                f"{bar.value:,.4g} {bar.unit}".strip(),
                f"{'≤' if bar.at_most else '≥'} {bar.bar:,.4g} {bar.unit}".strip(),
                "reached" if bar.reached else "MISSED",
            ]
            for bar in result.bars
        ]
        print_rows(output(), columns, rows, title="Bars")
    notes().print(f"written to {' and '.join(map(str, written))}", markup=False)
    if not all(bar.reached for bar in result.bars):
        notes().print("a bar was missed; other load on this machine is the first thing to rule out")
