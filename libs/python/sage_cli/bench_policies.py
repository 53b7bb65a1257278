"""``sage bench policies``: the policies under the same load, live."""

from __future__ import annotations

from typing import Annotated

import typer

from sage_cli.bench_options import BenchOptions, command_line, names_in, takes_bench_options


@takes_bench_options()
def policies(
    options: BenchOptions,
    policies: Annotated[
        str, typer.Option(help="Policies to run, with commas between them.")
    ] = "fifo,priority,slo_aware,hybrid",
    against_simulator: Annotated[
        bool,
        typer.Option(help="Also simulate the same requests, and hold the mesh and the simulator against each other."),
    ] = True,
) -> None:
    """Run the same load through each policy of a mesh of its own, in front of simulated engines."""
    from sage_benchmark.live.policy_benchmark import PolicyOptions, run_policies
    from sage_cli.consoles import notes
    from sage_control_plane.policies.registry import check_policy

    chosen = [check_policy(name) for name in names_in(policies)]
    beside = PolicyOptions(simulate=against_simulator, without_affinity=options.shared_prefixes)
    report = run_policies(options.plan(), chosen, command_line(), notes().print, beside)
    options.show(report, "policies")
