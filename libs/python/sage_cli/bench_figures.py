"""``sage bench figures``: the figures of the system's description, each of a run made for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LOADS = (0.7, 0.9, 1.1, 1.3, 1.6)


def figures(
    pipeline: Annotated[Path, typer.Option(help="Pipeline whose graph is drawn.")] = Path(
        "examples/pipelines/ask_documents.yaml"
    ),
    seconds: Annotated[float, typer.Option(min=1, help="Virtual time in which requests arrive, at each load.")] = 120.0,
    output_directory: Annotated[Path, typer.Option("--output", "-o", help="Where the figures go.")] = Path(
        "bench-results/figures"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Draw the figures of docs/system.md: a killed engine, the life of a request, a decision, a pipeline, policies."""
    from sage_benchmark.figures.system_figures import draw_system_figures
    from sage_benchmark.workload.load_settings import LoadSettings
    from sage_cli.bench_options import ENGINES, command_line
    from sage_cli.consoles import notes, print_json

    workloads = tuple(LoadSettings(ENGINES, seconds, load) for load in LOADS)
    drawn = draw_system_figures(output_directory, pipeline, workloads, command_line(), notes().print)
    if as_json:
        print_json([str(path) for path in drawn])
    else:
        for path in drawn:
            typer.echo(path)
