"""``sage bench``: measurements of this machine's own SAGE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from sage_cli.bench_dataflow import dataflow
from sage_cli.bench_decisions import decisions
from sage_cli.bench_embed import embed
from sage_cli.bench_figures import figures
from sage_cli.bench_gateway import gateway
from sage_cli.bench_grid import grid
from sage_cli.bench_kb import kb
from sage_cli.bench_load import compare, policies, simulate
from sage_cli.bench_native import native
from sage_cli.bench_resilience import hosts, limits, overload, soak, streams

app = typer.Typer(help="Measure; every figure is of this machine, now.", no_args_is_help=True)
app.command()(embed)
app.command()(dataflow)
app.command()(kb)
app.command()(native)
app.command()(gateway)
app.command()(decisions)
app.command()(policies)
app.command()(compare)
app.command()(simulate)
app.command()(grid)
app.command()(streams)
app.command()(overload)
app.command()(limits)
app.command()(hosts)
app.command()(soak)
app.command()(figures)


@app.callback()
def bench() -> None:
    """Measure; every figure is of this machine, now."""


@app.command()
def classify(
    repetitions: Annotated[int, typer.Option("--repetitions", "-n", min=1, help="Times each part is run.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the chat body.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure what the classifier's reading of a 4 kB chat body costs, in C++ and in Python."""
    import orjson
    from rich.table import Table

    from sage_benchmark import classify as benchmark
    from sage_cli.consoles import notes, output

    result = benchmark.run(repetitions, seed)
    if as_json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("part", "p50 µs", "p99 µs"):
        table.add_column(name, justify="left" if name == "part" else "right")
    rows: dict[str, Mapping[str, float]] = {"parse": result["parse"]}
    for part in ("features", "total"):
        rows.update({f"{part}, {name}": times for name, times in result[part].items()})
    for name, times in rows.items():
        table.add_row(name, f"{times['p50_us']:.1f}", f"{times['p99_us']:.1f}")
    output().print(table)
    size, tokens, blocks = result["body_bytes"], result["input_tokens"], result["blocks"]
    notes().print(f"chat body of {size} bytes, {tokens} tokens, {blocks} blocks; target {result['target_us']:g} µs")
