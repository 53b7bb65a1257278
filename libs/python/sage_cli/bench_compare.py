"""``sage bench compare``: the mesh and its peers under the same load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sage_cli import bench_options as options


def compare(
    peers: Annotated[
        str, typer.Option(help="Peers to run, with commas between them.")
    ] = "litellm,sglang-router,vllm-router",
    peer_env: Annotated[
        list[str] | None, typer.Option(help="NAME=/path/to/venv of a peer; may be given several times.")
    ] = None,
    policies: Annotated[
        str, typer.Option(help="Policies of the mesh; the first is held against the peers.")
    ] = "hybrid",
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
    """Run the same load through SAGE and each peer that is installed, in front of the same simulated engines."""
    from sage_benchmark.live.compare import run_compare
    from sage_benchmark.live.peers import peer_named, read_environments
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
    report = run_compare(
        plan,
        [check_policy(name) for name in options.names_in(policies)],
        [peer_named(name) for name in options.names_in(peers)],
        read_environments(peer_env or []),
        options.command_line(),
        notes().print,
    )
    options.show(report, output_directory, "compare", as_json=as_json)
