"""``sage bench gateway``: what the mesh adds to a request and what it carries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sage_benchmark.gateway_benchmark import GatewayResult


def gateway(
    repetitions: Annotated[int, typer.Option("--repetitions", "-n", min=1, help="Times each load is run.")] = 3,
    output_directory: Annotated[
        Path, typer.Option("--output", "-o", help="Where result.json and chart.png go.")
    ] = Path("bench-results/gateway"),
    everything: Annotated[
        bool, typer.Option("--everything", help="Only compare a mesh with everything on and one with all off.")
    ] = False,
    peer_env: Annotated[
        list[str] | None,
        typer.Option(help="NAME=/path/to/venv of a peer that is measured too, in turns; may be given several times."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the mesh in front of an engine that answers at once; takes some minutes and starts its own meshes."""
    if everything:
        from sage_benchmark.resilience import everything_on
        from sage_cli.bench_resilience import show

        plan = everything_on.EverythingPlan(repetitions=repetitions)
        show(everything_on.run(plan), output_directory, as_json=as_json)
        return
    import orjson

    from sage_benchmark.gateway_benchmark import GatewayPlan, run, write_chart
    from sage_benchmark.live.peers import installed_programs
    from sage_cli.consoles import notes

    result = run(GatewayPlan(repetitions=repetitions), installed_programs(peer_env or []))
    record = orjson.dumps(result.to_json(), option=orjson.OPT_INDENT_2)
    output_directory.mkdir(parents=True, exist_ok=True)
    (output_directory / "result.json").write_bytes(record)
    write_chart(result, output_directory / "chart.png")
    if as_json:
        typer.echo(record.decode())
    else:
        _print_tables(result)
    notes().print(f"written to {output_directory}/result.json and chart.png")
    if not all(bar.reached for bar in result.bars):
        notes().print("a bar was missed; other load on this machine is the first thing to rule out")


def _print_tables(result: GatewayResult) -> None:
    from rich.table import Table

    from sage_cli.consoles import output

    loads = Table(title="Load", title_justify="left", box=None, header_style="bold")
    for name in (
        "concurrency",
        "requests/s",
        "min … max",
        "engine alone",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "added p50 ms",
    ):
        loads.add_column(name, justify="right")
    for row in result.rows:
        spread = f"{row['requests_per_second_min']:,.0f} … {row['requests_per_second_max']:,.0f}"
        loads.add_row(
            f"{row['concurrency']:.0f}",
            f"{row['requests_per_second']:,.0f}",
            spread,
            f"{row['direct_requests_per_second']:,.0f}",
            *(f"{row[name]:.2f}" for name in ("p50_ms", "p95_ms", "p99_ms", "added_p50_ms")),
        )
    streaming = Table(title="Streaming", title_justify="left", box=None, header_style="bold")
    streaming.add_column("figure")
    streaming.add_column("", justify="right")
    for figure, key in (
        ("added time to first token p50, streams back to back, ms", "added_first_token_p50_ms"),
        ("the same from an idle machine (paced streams), ms", "added_first_token_from_idle_p50_ms"),
        ("gap between tokens at the engine, ms", "engine_gap_ms"),
        ("gap between tokens at the client p50, ms", "token_gap_p50_ms"),
        ("gap between tokens at the client p99, ms", "token_gap_p99_ms"),
    ):
        streaming.add_row(figure, f"{result.streaming[key]:.2f}")
    limits = Table(title="Keys and limits", title_justify="left", box=None, header_style="bold")
    for name in ("", "requests/s, 64 connections", "p50 ms, one connection"):
        limits.add_column(name, justify="right" if name else "left")
    for title, key in (("no keys, no limits", "off"), ("an API key, a tenant with every limit", "on")):
        rate, latency = result.limits[f"{key}_requests_per_second"], result.limits[f"{key}_p50_ms"]
        limits.add_row(title, f"{rate:,.0f}", f"{latency:.2f}")
    services = Table(title="Services", title_justify="left", box=None, header_style="bold")
    for name in ("service", "CPU µs a request", "resident MB"):
        services.add_column(name, justify="left" if name == "service" else "right")
    for cost in result.services:
        services.add_row(cost.service, f"{cost.cpu_us_per_request:.0f}", f"{cost.resident_mb:.0f}")
    peers = Table(title="Beside peers", title_justify="left", box=None, header_style="bold")
    for name in ("", "requests/s, 64 connections", "p50 ms, one connection", "SAGE's requests/s to it"):
        peers.add_column(name, justify="right" if name else "left")
    for peer in result.peers:
        peers.add_row(peer.name, f"{peer.requests_per_second:,.0f}", f"{peer.p50_ms:.2f}", f"{peer.rate_ratio:.2f} ×")
    bars = Table(title="Bars", title_justify="left", box=None, header_style="bold")
    for name in ("figure", "measured", "bar", ""):
        bars.add_column(name, justify="left" if name in ("figure", "") else "right")
    for bar in result.bars:
        sign = "≤" if bar.at_most else "≥"
        verdict = "reached" if bar.reached else "MISSED"
        bars.add_row(bar.name, f"{bar.value:,.2f} {bar.unit}", f"{sign} {bar.bar:,.4g} {bar.unit}", verdict)
    for table in (loads, streaming, limits, services, *([peers] if result.peers else ()), bars):
        output().print(table)
        output().print()
