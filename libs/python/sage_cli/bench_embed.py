"""``sage bench embed``: embeddings through the mesh beside the best that the machine does without it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sage_benchmark.embed.embed_benchmark import EmbedResult


def embed(
    peers: Annotated[bool, typer.Option("--peers", help="Measure sentence-transformers and infinity too.")] = False,
    infinity_python: Annotated[
        Path | None, typer.Option("--infinity-python", help="Interpreter of an environment with infinity-emb.")
    ] = None,
    sts: Annotated[Path | None, typer.Option("--sts", help="stsbenchmark.tsv.gz, for the quality of vectors.")] = None,
    backend: Annotated[str, typer.Option("--backend", help="Backend of the executor.")] = "auto",
    precision: Annotated[str, typer.Option("--precision", help="Precision of the executor.")] = "auto",
    repetitions: Annotated[int, typer.Option("--repetitions", "-n", min=1, help="Times each load is run.")] = 3,
    bulk_texts: Annotated[int, typer.Option("--bulk-texts", min=1, help="Texts of the bulk job.")] = 100_000,
    memory_minutes: Annotated[float, typer.Option("--memory-minutes", min=0, help="Minutes of mixed shapes.")] = 10.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the texts.")] = 7,
    quick: Annotated[bool, typer.Option("--quick", help="A minute, to see that everything works.")] = False,
    output_directory: Annotated[
        Path, typer.Option("--output", "-o", help="Where result.json, report.md and chart.png go.")
    ] = Path("bench-results/embed"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure embeddings: throughput, latency, bulk beside interactive, vectors, memory. Starts its own mesh."""
    import orjson

    from sage_benchmark.embed.embed_benchmark import EmbedPlan, quick_plan, run
    from sage_benchmark.embed.embed_report import write_report
    from sage_cli.consoles import notes

    plan = EmbedPlan(
        repetitions=repetitions,
        bulk_texts=bulk_texts,
        memory_minutes=memory_minutes,
        seed=seed,
        backend=backend,
        precision=precision,
        sts=sts,
        peers=peers,
        infinity_python=infinity_python,
    )
    result = run(quick_plan(plan) if quick else plan, lambda step: notes().print(step))
    write_report(result, output_directory)
    if as_json:
        typer.echo(orjson.dumps(result.to_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(result)
    notes().print(f"written to {output_directory}")
    if not quick and not all(bar.reached for bar in result.bars):
        notes().print("a bar was missed; other load on this machine is the first thing to rule out")


def _print(result: EmbedResult) -> None:
    from rich.table import Table

    from sage_cli.consoles import output

    rates = Table(title="Texts a second", title_justify="left", box=None, header_style="bold")
    rates.add_column("system")
    rates.add_column("texts/s", justify="right")
    for name, rate in result.rates.items():
        rates.add_row(name, f"{rate:,.0f}")
    bars = Table(title="Bars", title_justify="left", box=None, header_style="bold")
    for name in ("figure", "measured", "bar", ""):
        bars.add_column(name, justify="left" if name in ("figure", "") else "right")
    for bar in result.bars:
        sign = "≤" if bar.at_most else "≥"
        verdict = "reached" if bar.reached else "MISSED"
        bars.add_row(bar.name, f"{bar.value:,.4g} {bar.unit}", f"{sign} {bar.bar:,.4g} {bar.unit}", verdict)
    for table in (rates, bars):
        output().print(table)
        output().print()
    for reason in result.left_out:
        output().print(f"left out: {reason}", style="dim")
