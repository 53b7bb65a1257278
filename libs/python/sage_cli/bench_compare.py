"""``sage bench compare``: the mesh and its peers under the same load."""

from __future__ import annotations

from typing import Annotated

import typer

from sage_cli.bench_options import BenchOptions, command_line, names_in, takes_bench_options


@takes_bench_options()
def compare(
    options: BenchOptions,
    peers: Annotated[
        str, typer.Option(help="Peers to run, with commas between them.")
    ] = "litellm,sglang-router,vllm-router",
    peer_env: Annotated[
        list[str] | None, typer.Option(help="NAME=/path/to/venv of a peer; may be given several times.")
    ] = None,
    policies: Annotated[
        str, typer.Option(help="Policies of the mesh; the first is held against the peers.")
    ] = "hybrid",
) -> None:
    """Run the same load through SAGE and each peer that is installed, in front of the same simulated engines."""
    from sage_benchmark.live.peer_benchmark import run_compare
    from sage_benchmark.live.peers import peer_named, read_environments
    from sage_cli.consoles import notes
    from sage_control_plane.policies.registry import check_policy

    report = run_compare(
        options.plan(),
        [check_policy(name) for name in names_in(policies)],
        [peer_named(name) for name in names_in(peers)],
        read_environments(peer_env or []),
        command_line(),
        notes().print,
    )
    options.show(report, "compare")
