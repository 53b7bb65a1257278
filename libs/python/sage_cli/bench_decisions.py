"""``sage bench decisions``: what one scheduler decides in a second, and what its engines cost at rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sage_cli.bench_resilience import Output, show
from sage_cli.consoles import AsJson


def decisions(
    requests: Annotated[int, typer.Option("--requests", "-n", min=100, help="Decisions of each part.")] = 20_000,
    executors: Annotated[int, typer.Option(min=1, help="Processes that the engines would be spread over.")] = 125,
    rest_seconds: Annotated[float, typer.Option(min=1.0, help="How long engines at rest are watched.")] = 20.0,
    small: Annotated[bool, typer.Option("--small", help="100 engines and 10,000 queued requests only.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of which requests end first.")] = 1,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Measure decisions a second, with 100 engines and with 1,000; takes some minutes and starts its own scheduler.

    `make compiled` before it measures decisions as the images have them, beside the sources.
    """
    from sage_benchmark.decisions.decisions_benchmark import SIZES, DecisionsPlan, run
    from sage_cli.consoles import notes

    plan = DecisionsPlan(
        SIZES[:1] if small else SIZES, requests=requests, executors=executors, rest_seconds=rest_seconds, seed=seed
    )
    result = run(plan, lambda step: notes().print(step, markup=False))
    show(result, output or Path("bench-results/decisions"), as_json=as_json)
