"""The benchmarks under load: ``sage bench policies`` and ``compare`` live, ``sage bench simulate`` in virtual time."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from sage_cli.bench_options import BenchOptions, command_line, names_in, takes_bench_options


@takes_bench_options()
def policies(
    options: BenchOptions,
    policies: Annotated[
        str, typer.Option(help="Policies to run, with commas between them.")
    ] = "fifo,priority,slo_aware,hybrid",
    engine: Annotated[
        str,
        typer.Option(help="llamacpp: run them in front of two real llama.cpp engines, too, beside the simulated ones."),
    ] = "simulated",
    against_simulator: Annotated[
        bool,
        typer.Option(help="Also simulate the same requests, and hold the mesh and the simulator against each other."),
    ] = True,
) -> None:
    """Run the same load through each policy of a mesh of its own, in front of simulated engines and of real ones."""
    from sage_benchmark.live.policy_benchmark import PolicyOptions, run_policies
    from sage_cli.consoles import notes
    from sage_common.errors import InvalidRequestError
    from sage_control_plane.policies.registry import check_policy

    chosen = [check_policy(name) for name in names_in(policies)]
    if engine not in ("simulated", "llamacpp"):
        raise InvalidRequestError(f"--engine {engine!r}: it is simulated or llamacpp", param="engine")
    if engine == "llamacpp" and (options.fault == "slow" or options.trace is not None):
        raise InvalidRequestError("a real engine cannot be made slow, and plays no trace", param="engine")
    beside = PolicyOptions(against_simulator, options.shared_prefixes, engine == "llamacpp")
    report = run_policies(options.plan(), chosen, command_line(), notes().print, beside)
    options.show(report, "policies")


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


@takes_bench_options(seconds=300.0)
def simulate(
    options: BenchOptions,
    policies: Annotated[
        str, typer.Option(help="Policies to simulate, with commas between them.")
    ] = "fifo,priority,slo_aware,hybrid",
    requests: Annotated[
        int, typer.Option(min=0, help="Simulate about so many requests instead of --seconds; 0 for none of that.")
    ] = 0,
    clairvoyant: Annotated[
        bool, typer.Option(help="Also simulate a policy that knows every output's length, as a yardstick.")
    ] = True,
) -> None:
    """Simulate the same load under each policy, with the scheduler's own control plane and models of engines."""
    from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
    from sage_benchmark.simulator.simulation_benchmark import VirtualPlan, run_in_virtual_time
    from sage_benchmark.simulator.simulation_plan import SimulationPlan
    from sage_benchmark.workload.request_shapes import MIXED, saturation_rate
    from sage_cli.consoles import notes
    from sage_control_plane.policies.registry import check_policy

    if requests:
        rate = max(options.load) * saturation_rate(MIXED, EngineModelConfig(), options.engines)
        options = replace(options, seconds=requests / rate)
    live = options.plan()
    plan = VirtualPlan(
        live.workloads,
        live.repetitions,
        live.seed,
        clairvoyant,
        options.shared_prefixes,
        SimulationPlan(faults=(live.fault,) if live.fault is not None else ()),
    )
    chosen = [check_policy(name) for name in names_in(policies)]
    report = run_in_virtual_time(plan, chosen, command_line(), notes().print)
    options.show(report, "simulate")
