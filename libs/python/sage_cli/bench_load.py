"""The benchmarks under load: ``sage bench policies`` and ``compare`` live, ``sage bench simulate`` in virtual time."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from sage_cli.bench_options import ENGINES, LOAD, BenchOptions, command_line, names_in, takes_bench_options
from sage_cli.live_bench_options import LiveOptions

# Real servers, of one thread each: a policy is measured over a choice of engines; beside peers two cores have one left
# for what is in front of the engine.
LLAMACPP_OF_POLICIES = 2
LLAMACPP_OF_COMPARE = 1
PEERS = "smg,litellm,sglang-router,vllm-router"
CACHE_PEERS = "smg-cache-aware,smg,sglang-router,vllm-router"


@takes_bench_options(LiveOptions)
def policies(
    options: LiveOptions,
    policies: Annotated[
        str, typer.Option(help="Policies to run, with commas between them.")
    ] = "fifo,priority,slo_aware,hybrid",
    against_simulator: Annotated[
        bool,
        typer.Option(help="Also simulate the same requests, and hold the mesh and the simulator against each other."),
    ] = True,
) -> None:
    """Run the same load through each policy of a mesh of its own, in front of simulated engines or real ones."""
    from sage_benchmark.live.policy_benchmark import PolicyOptions, run_policies
    from sage_cli.consoles import notes
    from sage_control_plane.policies.registry import check_policy

    chosen = [check_policy(name) for name in names_in(policies)]
    plan, engines = options.live_plan(LLAMACPP_OF_POLICIES), options.start_engines(LLAMACPP_OF_POLICIES)
    beside = PolicyOptions(against_simulator, options.shared_prefixes, options.real, options.capacities())
    options.show(run_policies(plan, chosen, engines, command_line(), notes().print, beside), "policies")


@takes_bench_options(LiveOptions)
def compare(
    options: LiveOptions,
    peers: Annotated[
        str,
        typer.Option(
            help=f"Peers to run, with commas between them; by default {PEERS}, and for conversations {CACHE_PEERS}."
        ),
    ] = "",
    peer_env: Annotated[
        list[str] | None, typer.Option(help="NAME=/path/to/venv of a peer; may be given several times.")
    ] = None,
    policies: Annotated[
        str, typer.Option(help="Policies of the mesh; the first is held against the others.")
    ] = "hybrid",
) -> None:
    """Run the same load through SAGE, each peer that is installed, and nothing, in front of the same engines."""
    from sage_benchmark.live.peer_benchmark import Compared, run_compare
    from sage_benchmark.live.peers import peer_named, read_environments
    from sage_cli.consoles import notes
    from sage_control_plane.policies.registry import check_policy

    compared = Compared(
        [check_policy(name) for name in names_in(policies)],
        [peer_named(name) for name in names_in(peers or (CACHE_PEERS if options.conversations else PEERS))],
        read_environments(peer_env or []),
        options.capacities(),
    )
    plan, engines = options.live_plan(LLAMACPP_OF_COMPARE), options.start_engines(LLAMACPP_OF_COMPARE)
    options.show(run_compare(plan, compared, engines, command_line(), notes().print), "compare")


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
        bool, typer.Option(help="Also simulate a policy that knows every length, and bound what any order reaches.")
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
        rate = max(options.loads(LOAD)) * saturation_rate(MIXED, EngineModelConfig(), options.engines or ENGINES)
        options = replace(options, seconds=requests / rate)
    live = options.plan()
    plan = VirtualPlan(
        options.workloads(),
        live.repetitions,
        live.seed,
        clairvoyant,
        options.shared_prefixes,
        SimulationPlan(faults=(live.fault,) if live.fault is not None else ()),
    )
    chosen = [check_policy(name) for name in names_in(policies)]
    report = run_in_virtual_time(plan, chosen, command_line(), notes().print)
    options.show(report, "simulate")
