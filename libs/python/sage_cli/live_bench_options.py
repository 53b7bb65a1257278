"""Options of the benchmarks that run live: which engines, what they are asked for, and what a front is told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from sage_cli.bench_options import ENGINES, SECONDS, TENANTS, BenchOptions, names_in

if TYPE_CHECKING:
    from sage_benchmark.live.capacities import Capacity
    from sage_benchmark.live.comparison import ComparisonPlan
    from sage_benchmark.live.simulated_pool import SimulatedPool
    from sage_benchmark.workload.conversations import Conversations

SIMULATED = "simulated"
LLAMACPP = "llamacpp"
# Of a run in front of real engines, which is as long as its queue takes to end.
REAL_SECONDS = 50.0
REAL_TIMEOUT_SECONDS = 180.0
REAL_WARM_UP_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class LiveOptions(BenchOptions):
    """What a live benchmark takes beside ``BenchOptions``."""

    engine: Annotated[
        str,
        typer.Option(
            help="simulated, or llamacpp: real servers with the packaged model under the stated rates; by default 2 "
            "for policies and 1 for compare, for 50 s, of one tenant."
        ),
    ] = SIMULATED
    slots: Annotated[int, typer.Option(min=1, help="llamacpp: requests that a server computes at once.")] = 4
    threads: Annotated[int, typer.Option(min=1, help="llamacpp: threads of a server.")] = 1
    chat_rate: Annotated[float, typer.Option(min=0, help="llamacpp: chats a second for each server, at load 1.")] = 2.0
    chat_tokens: Annotated[int, typer.Option(min=1, help="llamacpp: tokens of a chat's answer.")] = 24
    bulk_rate: Annotated[
        float, typer.Option(min=0, help="llamacpp: bulk completions a second for each server, at load 1.")
    ] = 0.45
    bulk_tokens: Annotated[int, typer.Option(min=1, help="llamacpp: tokens of a bulk completion's answer.")] = 220
    within: Annotated[float, typer.Option(min=0.001, help="Seconds in which first tokens are counted as in time.")] = (
        1.0
    )
    conversations: Annotated[
        bool,
        typer.Option(
            "--conversations",
            help="Play conversations of several turns behind shared system prompts, in front of simulated engines with "
            "prefix caches like vLLM's, instead of the mixed load; without embeddings, load 1 by default.",
        ),
    ] = False
    sessions: Annotated[
        bool, typer.Option("--sessions", help="Each request of a conversation names it (prompt_cache_key).")
    ] = False
    kv_events: Annotated[
        bool,
        typer.Option(
            "--kv-events",
            help="conversations: engines tell what is in their prefix caches, as vLLM does, and compare runs the mesh "
            "once more, which reads it.",
        ),
    ] = False
    kv_tokens: Annotated[
        int, typer.Option(min=1_024, help="conversations: tokens that an engine's cache has room for.")
    ] = 65_536
    capacity: Annotated[
        str,
        typer.Option(
            help="Whether what is in front of the engines is told how many requests each computes at once: told, "
            "untold, or both with a comma. By default told of simulated engines, untold of real ones."
        ),
    ] = ""

    @property
    def real(self) -> bool:
        """Whether the engines are real. Raises InvalidRequestError for engines that are neither."""
        from sage_common.errors import InvalidRequestError

        if self.engine not in (SIMULATED, LLAMACPP):
            raise InvalidRequestError(f"--engine {self.engine!r}: it is {SIMULATED} or {LLAMACPP}", param="engine")
        return self.engine == LLAMACPP

    def capacities(self) -> list[Capacity]:
        """What is told. Raises InvalidRequestError for other words."""
        from sage_benchmark.live.capacities import TOLD, UNTOLD, read_capacities

        return read_capacities(names_in(self.capacity)) if self.capacity else [UNTOLD if self.real else TOLD]

    def live_plan(self, servers: int) -> ComparisonPlan:
        """Make the plan for simulated or real engines; raise as ``plan``, and for what real engines do not do.

        Args:
            servers: how many real ones there are where it was not said.
        """
        from sage_benchmark.live.comparison import ComparisonPlan
        from sage_benchmark.workload.class_rates import ClassRates
        from sage_common.errors import InvalidRequestError

        plan = replace(self.plan(), within_seconds=self.within)
        if self.conversations:
            plan = replace(plan, workloads=self._conversations())
        if not self.real:
            return plan
        for given, option in (
            (self.fault == "slow", "--fault slow"),
            (self.trace is not None, "--trace"),
            (self.greedy, "--greedy-tenant"),
            (self.shared_prefixes, "--shared-prefixes"),
            (self.conversations, "--conversations"),
        ):
            if given:
                raise InvalidRequestError(f"{option} is for simulated engines", param="engine")
        rates = ClassRates(
            engines=self.engines or servers,
            seconds=self.run_seconds(REAL_SECONDS),
            chat_rate=self.chat_rate,
            bulk_rate=self.bulk_rate,
            chat_tokens=self.chat_tokens,
            bulk_tokens=self.bulk_tokens,
            cv=self.cv,
            tenants=self.tenants or 1,
        )
        return ComparisonPlan(
            tuple(replace(rates, load=load) for load in self.loads(1.0)),
            self.runs,
            self.seed,
            timeout_seconds=REAL_TIMEOUT_SECONDS,
            warm_up_seconds=REAL_WARM_UP_SECONDS,
            fault=replace(plan.fault, at_seconds=rates.seconds / 3) if plan.fault is not None else None,
            within_seconds=self.within,
            alone=True,
        )

    def start_engines(self, servers: int) -> Callable[[], AbstractContextManager[SimulatedPool]]:
        """What starts the engines. Raises InvalidRequestError for engines that are neither simulated nor real.

        Args:
            servers: as for ``live_plan``.
        """
        from sage_benchmark.live.llamacpp_pool import LlamacppServers, llamacpp_pool
        from sage_benchmark.live.simulated_pool import simulated_pool
        from sage_benchmark.simulated_engine.engine_config import EngineModelConfig, SimulatedModels
        from sage_benchmark.workload.conversations import BLOCK_BYTES, BLOCK_TOKENS

        if self.real:
            return partial(llamacpp_pool, LlamacppServers(self.engines or servers, self.slots, self.threads))
        engines = self.engines or ENGINES
        if self.conversations:
            config = EngineModelConfig(kv_tokens=self.kv_tokens, block_tokens=BLOCK_TOKENS, block_bytes=BLOCK_BYTES)
            return partial(
                simulated_pool, engines, SimulatedModels(embedding=""), config=config, kv_events=self.kv_events
            )
        return partial(simulated_pool, engines, SimulatedModels())

    def _conversations(self) -> tuple[Conversations, ...]:
        from sage_benchmark.workload.conversations import Conversations
        from sage_common.errors import InvalidRequestError

        for given, option in (
            (self.trace is not None, "--trace"),
            (self.greedy, "--greedy-tenant"),
            (self.shared_prefixes, "--shared-prefixes"),
        ):
            if given:
                raise InvalidRequestError(f"{option} and --conversations exclude each other", param="conversations")
        load = Conversations(
            self.engines or ENGINES,
            self.run_seconds(SECONDS),
            cv=self.cv,
            tenants=self.tenants or TENANTS,
            tells_session=self.sessions,
        )
        return tuple(replace(load, load=one) for one in self.loads(1.0))
