"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sage_benchmark.report.benchmark_report import BenchmarkReport
from sage_benchmark.report.metrics import Spread, SystemRuns

# Columns of the main table: heading, figure, digits after the point.
OVERALL = (
    ("goodput/s", "goodput", 2),
    ("throughput/s", "throughput", 2),
    ("tokens/s", "tokens_per_second", 0),
    ("attainment", "attainment", 3),
    ("Jain", "jain", 3),
    ("prompt cached", "cached_prompt_share", 3),
    ("interrupted", "interruptions", 0),
    ("recomputed", "recomputed_share", 4),
    ("sent late p99 ms", "late_p99_ms", 1),
)
# Columns of the table over several loads.
AGAINST_LOAD = (
    ("goodput/s", "goodput", 2),
    ("attainment", "attainment", 3),
    ("interactive attainment", "by_class.interactive.attainment", 3),
    ("interactive TTFT p99 ms", "by_class.interactive.ttft.p99", 0),
)
PER_GROUP = (
    ("requests", "requests", 0),
    ("attainment", "attainment", 3),
    ("served", "served", 3),
    ("TTFT p50", "ttft.p50", 0),
    ("p95", "ttft.p95", 0),
    ("p99 ms", "ttft.p99", 0),
    ("TPOT p50", "tpot.p50", 1),
    ("p95", "tpot.p95", 1),
    ("p99 ms", "tpot.p99", 1),
    ("end to end p50", "end_to_end.p50", 0),
    ("p99 ms", "end_to_end.p99", 0),
)


def render_markdown(report: BenchmarkReport, charts: Sequence[tuple[str, str]] = ()) -> str:
    """Render a report; ``charts`` are (title, file name) pairs to show."""
    parts = [f"# {report.title}", f"```\n{report.command}\n```"]
    parts.append(table(("setting", "value"), [(name, str(value)) for name, value in report.settings.items()]))
    for first in report.tables:
        parts += [f"## {first.title}", first.explained, table(first.columns, first.rows)]
    if report.bars:
        bars = [
            (
                bar.name,
                f"{bar.value:.4g} {bar.unit}",
                f"{'≤' if bar.at_most else '≥'} {bar.bar:g} {bar.unit}",
                "yes" if bar.reached else "**no**",
            )
            for bar in report.bars
        ]
        parts += ["## Figures to reach", table(("figure", "value", "bar", "reached"), bars)]
    if len({system.load for system in report.systems}) > 1:
        parts += ["## Against load", _against_load(report)]
    if report.agreements:
        said = "Attainment of the same requests, live and simulated, and the difference in percentage points."
        parts += ["## Live beside the simulator", said, _agreements(report)]
    parts += ["## Systems", "Mean over the repetitions; in brackets the lowest and the highest.", _overall(report)]
    for heading, key in (("By class", "by_class"), ("By tenant", "by_tenant")):
        rows = [row for system in report.systems for row in _groups(system, key)]
        if rows:
            columns = ("system", "load", key.removeprefix("by_"), *(column for column, _, _ in PER_GROUP))
            parts += [f"## {heading}", table(columns, rows)]
    failures = [row for system in report.systems for row in _failures(system)]
    if failures:
        parts += ["## Failures", "Requests per repetition.", table(("system", "load", "error", "count"), failures)]
    cpu = [
        (system.name, f"{system.load:g}", name, f"{seconds:.1f}", f"{1e6 * seconds / max(1, system.requests):.0f}")
        for system in report.systems
        for name, seconds in system.cpu_seconds.items()
    ]
    if cpu:
        parts += ["## CPU", table(("system", "load", "service", "CPU seconds", "µs a request"), cpu)]
    parts += [f"![{title}]({file})" for title, file in charts]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    return "\n\n".join(parts) + "\n"


def _against_load(report: BenchmarkReport) -> str:
    rows = []
    for system in sorted(report.systems, key=lambda system: (system.name, system.load)):
        figures = system.figures
        cells = [_cell(figures[name], digits) if name in figures else "" for _, name, digits in AGAINST_LOAD]
        rows.append((system.name, f"{system.load:g}", f"{system.requests / system.seconds:.1f}", *cells))
    return table(("system", "load", "requests/s", *(column for column, _, _ in AGAINST_LOAD)), rows)


def _agreements(report: BenchmarkReport) -> str:
    rows = [
        (
            item.system,
            f"{item.load:g}",
            item.group,
            f"{item.requests:.0f}",
            _cell(item.live, 3),
            _cell(item.simulated, 3),
            f"{item.points:+.1f}",
        )
        for item in report.agreements
    ]
    return table(("system", "load", "requests of class", "count", "live", "simulated", "points"), rows)


def _overall(report: BenchmarkReport) -> str:
    rows = []
    for system in report.systems:
        figures = system.figures
        cells = [_cell(figures[name], digits) for _, name, digits in OVERALL]
        rows.append((system.name, f"{system.load:g}", str(len(system.runs)), *cells))
    return table(("system", "load", "runs", *(column for column, _, _ in OVERALL)), rows)


def _groups(system: SystemRuns, key: str) -> list[tuple[str, ...]]:
    figures = system.figures
    names = sorted({name for run in system.runs for name in getattr(run, key)})
    return [
        (
            system.name,
            f"{system.load:g}",
            group,
            *(_group_cell(figures, f"{key}.{group}.{name}", digits) for _, name, digits in PER_GROUP),
        )
        for group in names
    ]


def _failures(system: SystemRuns) -> list[tuple[str, ...]]:
    names = sorted({name for run in system.runs for name in run.errors})
    return [
        (system.name, f"{system.load:g}", name, _cell(Spread.of(run.errors.get(name, 0) for run in system.runs), 0))
        for name in names
    ]


def _group_cell(figures: Mapping[str, Spread], name: str, digits: int) -> str:
    value = figures.get(name)
    # Percentiles of nothing are no zeros.
    count = figures.get(f"{name.rpartition('.')[0]}.count")
    if value is None or (count is not None and not count.high):
        return "–"
    return f"{value.mean:.{digits}f}"


def _cell(value: Spread, digits: int) -> str:
    mean = f"{value.mean:.{digits}f}"
    return f"{mean} ({value.low:.{digits}f}-{value.high:.{digits}f})" if value.repetitions > 1 else mean


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a table; cells may contain anything but line breaks."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
