"""The figures of docs/system.md, drawn from runs that are made for them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from sage_benchmark.figures.killed_stream import KilledStream, kill_a_streams_engine
from sage_benchmark.report.charts import COLOURS, DPI, SIZE_INCHES, draw_over_load, draw_timeline
from sage_benchmark.report.timeline import Timeline, TimelineSpan
from sage_benchmark.report.writing import OVER_LOAD, over_load
from sage_benchmark.simulator.simulation_benchmark import VirtualPlan, run_in_virtual_time
from sage_benchmark.simulator.simulation_plan import SimulationPlan
from sage_benchmark.workload.load_settings import LoadSettings
from sage_kernel.plot.drawing import draw
from sage_kernel.validation import from_yaml

POLICIES = ("fifo", "priority", "slo_aware", "hybrid")
SEED = 1
ATTAINMENT = "attainment-over-load.png"


def draw_system_figures(
    folder: Path, pipeline: Path, workloads: tuple[LoadSettings, ...], command: str, progress: Callable[[str], None]
) -> list[Path]:
    """Draw every figure into a folder; return their files.

    Args:
        pipeline: file of the pipeline whose graph is drawn.
        workloads: one for each load at which the policies are compared.
        command: said in the reports that the figures come from.

    Raises:
        UnavailableError: the mesh did not come up, or the stream did not survive.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress("a stream whose engine is killed")
    with tempfile.TemporaryDirectory(prefix="sage-figures-") as scratch:
        seen = kill_a_streams_engine(Path(scratch))
    _draw_failover(folder / "failover.png", seen)
    draw_timeline(folder / "timeline.png", _timelines(seen))
    _draw_decision(folder / "decision.png", seen)
    drawing = draw(from_yaml(pipeline.read_text(encoding="utf-8")), ".svg")
    (folder / "pipeline.svg").write_text(drawing, encoding="utf-8")
    progress("the policies over load, in virtual time")
    _draw_attainment(folder / ATTAINMENT, workloads, command, progress)
    names = ("failover.png", "timeline.png", "decision.png", "pipeline.svg", ATTAINMENT)
    return [folder / name for name in names]


def _draw_failover(path: Path, seen: KilledStream) -> None:
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(f"kill -9 of the engine, as its client sees it: a pause of {seen.gap_ms:.0f} ms", fontsize=11)
    axes.set_xlabel("milliseconds from the request")
    axes.set_ylabel("tokens received")
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.step(seen.tokens_ms, range(1, len(seen.tokens_ms) + 1), where="post", color=COLOURS[0])
    axes.axvline(seen.killed_ms, color=COLOURS[1], linestyle="--", linewidth=1, label="the engine is killed")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path)


def _timelines(seen: KilledStream) -> list[Timeline]:
    """Return where the request was, a row for each place."""
    before = [at for at in seen.tokens_ms if at <= seen.killed_ms]
    after = [at for at in seen.tokens_ms if at > seen.killed_ms]
    queue_ms = float(seen.headers["x-sage-queue-ms"])
    (decided, *_) = seen.explanation["decisions"]
    engines = [dispatch["engine_id"] for dispatch in decided["dispatches"]]
    return [
        Timeline("queue", [TimelineSpan("waits for a seat", 0.0, queue_ms)]),
        Timeline(
            engines[0],
            [
                TimelineSpan("to the first token", queue_ms, before[0]),
                TimelineSpan("answers", before[0], seen.killed_ms),
            ],
            before,
        ),
        Timeline(
            engines[-1],
            [TimelineSpan("goes on", seen.killed_ms, after[0]), TimelineSpan("answers", after[0], after[-1])],
            after,
        ),
    ]


def _draw_decision(path: Path, seen: KilledStream) -> None:
    (decided, *_) = seen.explanation["decisions"]
    figure = Figure(figsize=(SIZE_INCHES[0], 2.6), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    labels, row = [], 0
    for number, dispatch in enumerate(decided["dispatches"], 1):
        for candidate in dispatch["candidates"]:
            chosen = candidate["engine_id"] == dispatch["engine_id"]
            axes.barh(row, candidate["score"], height=0.6, color=COLOURS[2] if chosen else "#bbbbbb")
            labels.append(f"dispatch {number}, {candidate['engine_id']}")
            row += 1
    axes.set_yticks(range(row), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("score of the engine; the chosen one in green")
    level = decided["classification"]
    axes.set_title(
        f"{level['service_class']}, first token within {level['slo_ttft_ms']} ms, "
        f"{level['slo_tpot_ms']} ms between tokens, shelf '{decided['dispatches'][0]['band']}'",
        fontsize=10,
    )
    figure.savefig(path)


def _draw_attainment(
    path: Path, workloads: tuple[LoadSettings, ...], command: str, progress: Callable[[str], None]
) -> None:
    plan = VirtualPlan(workloads, 1, SEED, False, False, SimulationPlan())
    report = run_in_virtual_time(plan, list(POLICIES), command, progress)
    title, _, figure, label, top = OVER_LOAD[0]
    draw_over_load(path, title, over_load(report, figure), label, top)
