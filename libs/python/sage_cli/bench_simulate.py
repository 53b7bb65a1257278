"""``sage bench simulate``: the policies under the same load, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sage_cli import bench_options as options


def simulate(
    policies: Annotated[
        str, typer.Option(help="Policies to simulate, with commas between them.")
    ] = "fifo,priority,slo_aware,hybrid",
    engines: options.Engines = 3,
    seconds: options.Seconds = 300.0,
    requests: Annotated[
        int, typer.Option(min=0, help="Simulate about so many requests instead of --seconds; 0 for none of that.")
    ] = 0,
    load: options.Load = 1.3,
    cv: options.Cv = 1.0,
    repetitions: options.Repetitions = 3,
    seed: options.Seed = 1,
    tenants: options.Tenants = 3,
    trace: options.Trace = None,
    greedy: options.Greedy = False,
    fault: options.Fault = "",
    quick: options.Quick = False,
    clairvoyant: Annotated[
        bool, typer.Option(help="Also simulate a policy that knows every output's length, as a yardstick.")
    ] = True,
    output_directory: options.Output = Path("bench-results"),
    as_json: options.AsJson = False,
) -> None:
    """Simulate the same load under each policy, with the scheduler's own control plane and models of engines."""
    from sage_benchmark.live.engine_fault import LiveFault
    from sage_benchmark.simulate.plan import Fault, FaultKind, SimulationPlan
    from sage_benchmark.simulate.policies_in_virtual_time import VirtualPlan, run_in_virtual_time
    from sage_benchmark.simulated.engine_config import EngineModelConfig
    from sage_benchmark.workload.shapes import MIXED, saturation_rate
    from sage_cli.consoles import notes
    from sage_control_plane.policies.registry import check_policy

    if requests:
        seconds = requests / (load * saturation_rate(MIXED, EngineModelConfig(), engines))
    live = options.live_plan(
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
    faults: tuple[Fault, ...] = ()
    if live.fault is not None:
        kind = FaultKind.DEAD if live.fault.kind is LiveFault.DIE else FaultKind.SLOW
        faults = (Fault(0, live.fault.at_seconds, kind, live.fault.factor),)
    plan = VirtualPlan(live.load, live.repetitions, live.seed, clairvoyant, SimulationPlan(faults=faults))
    chosen = [check_policy(name) for name in options.names_in(policies)]
    report = run_in_virtual_time(plan, chosen, options.command_line(), notes().print)
    options.show(report, output_directory, "simulate", as_json=as_json)
