"""The embedding benchmark written down: JSON, Markdown and a chart."""

from __future__ import annotations

from pathlib import Path

import orjson

from sage_benchmark.embed.embed_benchmark import EmbedResult


def write_report(result: EmbedResult, folder: Path) -> None:
    """Write ``result.json``, ``report.md`` and ``chart.png``. The chart needs the extra ``bench``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_bytes(orjson.dumps(result.to_json(), option=orjson.OPT_INDENT_2))
    (folder / "report.md").write_text(render_markdown(result), encoding="utf-8")
    _write_chart(result, folder / "chart.png")


def render_markdown(result: EmbedResult) -> str:
    """Render the tables."""
    lines = ["# Embeddings", "", f"Backend: {result.offline.get('backend', 'unknown')}, {result.plan.texts} texts.", ""]
    lines += ["| figure | measured | bar | reached |", "|---|---|---|---|"]
    for bar in result.bars:
        sign = "≤" if bar.at_most else "≥"
        verdict = "yes" if bar.reached else "**no**"
        lines.append(f"| {bar.name} | {bar.value:.4g} {bar.unit} | {sign} {bar.bar:g} {bar.unit} | {verdict} |")
    lines += ["", "| system | texts/s | lowest … highest |", "|---|---|---|"]
    for name, rate in result.rates.items():
        runs = result.runs.get(name)
        spread = f"{min(runs):.0f} … {max(runs):.0f}" if runs else ""
        lines.append(f"| {name} | {rate:.0f} | {spread} |")
    lines += ["", *(f"Left out: {reason}" for reason in result.left_out)]
    return "\n".join(lines) + "\n"


def _write_chart(result: EmbedResult, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rates, latency = figure.subplots(1, 2)
    names = list(result.rates)
    rates.barh(range(len(names)), [result.rates[name] for name in names], color="#3b6ea5")
    rates.set(title="Texts a second", xlabel="texts/s")
    rates.set_yticks(range(len(names)), names)
    if result.interference is not None:
        for label, values in (("alone", result.interference.alone_ms), ("beside bulk", result.interference.beside_ms)):
            ordered = sorted(values)
            latency.plot(ordered, [(n + 1) / len(ordered) for n in range(len(ordered))], label=label)
        latency.set(title="Interactive latency", xlabel="ms", ylabel="share of requests", xscale="log")
        latency.legend()
    figure.savefig(path, dpi=130)
