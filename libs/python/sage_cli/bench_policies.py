"""``sage bench policies``: the policies under the same load, live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sage_cli import bench_options as options


def policies(
    policies: Annotated[
        str, typer.Option(help="Policies to run, with commas between them.")
    ] = "fifo,priority,slo_aware,hybrid",
    engines: options.Engines = 3,
    seconds: options.Seconds = 60.0,
    load: options.Load = 1.3,
    cv: options.Cv = 1.0,
    repetitions: options.Repetitions = 3,
    seed: options.Seed = 1,
    tenants: options.Tenants = 3,
    trace: options.Trace = None,
    greedy: options.Greedy = False,
    fault: options.Fault = "",
    quick: options.Quick = False,
    output_directory: options.Output = Path("bench-results"),
    as_json: options.AsJson = False,
) -> None:
    """Run the same load through each policy of a mesh of its own, in front of simulated engines."""
    from sage_benchmark.live.policies import run_policies
    from sage_cli.consoles import notes
    from sage_control_plane.policies.registry import check_policy

    plan = options.live_plan(
        engines=engines,
        seconds=seconds,
        load=load,
        cv=cv,
        repetitions=repetitions,
        seed=seed,
        tenants=tenants,
        trace=trace,
        greedy=greedy,
        fault=fault,
        quick=quick,
    )
    chosen = [check_policy(name) for name in options.names_in(policies)]
    report = run_policies(plan, chosen, options.command_line(), notes().print)
    options.show(report, output_directory, "policies", as_json=as_json)
