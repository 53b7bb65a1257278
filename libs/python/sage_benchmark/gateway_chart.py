"""The gateway benchmark as a picture: latency distributions' points and throughput, beside the engine alone."""

from __future__ import annotations

from pathlib import Path

from sage_benchmark.gateway import GatewayResult


def write_chart(result: GatewayResult, path: Path) -> None:
    """Write a PNG. Needs the extra ``bench``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rate, latency = figure.subplots(1, 2)
    names = [f"{row['concurrency']:.0f}" for row in result.rows]
    places = range(len(names))
    rates = [row["requests_per_second"] for row in result.rows]
    below = [row["requests_per_second"] - row["requests_per_second_min"] for row in result.rows]
    above = [row["requests_per_second_max"] - row["requests_per_second"] for row in result.rows]
    rate.bar(places, rates, yerr=[below, above], capsize=4, color="#3b6ea5")
    rate.set(title="Requests/s through the mesh", xlabel="concurrent connections", ylabel="requests/s")
    for name, style in (("p50_ms", "o-"), ("p95_ms", "s--"), ("p99_ms", "^:")):
        latency.plot(places, [row[name] for row in result.rows], style, label=name.removesuffix("_ms"))
    latency.plot(places, [row["direct_p50_ms"] for row in result.rows], "x-", color="grey", label="engine alone, p50")
    latency.set(title="Latency", xlabel="concurrent connections", ylabel="ms", yscale="log")
    latency.legend()
    for axes in (rate, latency):
        axes.set_xticks(list(places), names)
    figure.savefig(path, dpi=130)
