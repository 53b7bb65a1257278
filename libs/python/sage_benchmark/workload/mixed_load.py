"""Generating workloads: who sends how much, when requests arrive, and what they are."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.request_shapes import MIXED, RequestShape, request_weights, saturation_rate

GREEDY = "greedy"


@dataclass(frozen=True, slots=True)
class TenantLoad:
    """One tenant.

    Attributes:
        load: what it offers, as a multiple of what saturates all engines.
        weight: its right to service, relative to the others'.
    """

    name: str
    load: float
    weight: float = 1.0


def equal_tenants(count: int, load: float) -> tuple[TenantLoad, ...]:
    """``count`` tenants that offer ``load`` together."""
    return tuple(TenantLoad(f"tenant-{i + 1}", load / count) for i in range(count))


def with_a_greedy_one(count: int, load: float, greed: float = 10.0) -> tuple[TenantLoad, ...]:
    """``count`` tenants, the first of which offers ``greed`` times its share of the engines.

    Args:
        load: what all would offer together if none were greedy, as a multiple of saturation.
    """
    greedy = TenantLoad(GREEDY, greed / count)
    return (greedy, *equal_tenants(count, load)[1:])


POISSON = 1.0
BURSTY = 3.0


def arrival_times(rng: random.Random, rate: float, duration: float, cv: float = POISSON) -> Iterator[float]:
    """Yield increasing times in seconds from 0 up to ``duration``.

    Args:
        rate: mean arrivals a second, > 0.
        cv: coefficient of variation of the gaps, > 0; 1 is Poisson, 3 comes in bursts.

    Raises:
        ValueError: ``rate`` or ``cv`` out of range.
    """
    if rate <= 0 or cv <= 0:
        raise ValueError(f"rate {rate} and cv {cv} must both be above 0")
    shape = 1 / cv**2
    scale = cv**2 / rate
    # The run starts at a random moment of a process that has always been going on: inside a gap that is likelier to be
    # a long one (length-biased, so gamma with shape + 1), at a uniform place of it. For Poisson that is a gap again.
    at = rng.random() * rng.gammavariate(shape + 1, scale)
    while at < duration:
        yield at
        at += rng.gammavariate(shape, scale)


@dataclass(frozen=True, slots=True)
class SharedPrefixes:
    """Some generating requests begin with a long text that others of their group share, such as a system prompt.

    Attributes:
        groups: groups of each tenant.
        tokens: length of a group's text; added to the prompts.
        share: of the generating requests that have one.
    """

    groups: int = 32
    tokens: int = 2048
    share: float = 0.8


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """A workload.

    Attributes:
        duration: seconds in which requests arrive.
        engines: engines that ``load`` refers to.
        cv: coefficient of variation of the gaps between a tenant's arrivals.
    """

    duration: float
    engines: int
    tenants: tuple[TenantLoad, ...] = equal_tenants(1, 1.0)
    cv: float = POISSON
    shapes: tuple[RequestShape, ...] = MIXED
    prefixes: SharedPrefixes | None = None


def generate(plan: LoadPlan, config: EngineModelConfig, seed: int) -> list[Arrival]:
    """Return the arrivals, in order of time. The same arguments give the same list.

    Each tenant has a random stream of its own, so that a tenant's requests are the same whoever else there is.
    """
    weights = request_weights(plan.shapes, config)
    rate = saturation_rate(plan.shapes, config, plan.engines)
    drawn: list[Arrival] = []
    for tenant in plan.tenants:
        drawn += _tenant_arrivals(plan, tenant, rate * tenant.load, weights, random.Random(f"{seed}:{tenant.name}"))
    drawn.sort(key=lambda arrival: (arrival.at_seconds, arrival.tenant))
    return [replace(arrival, index=index) for index, arrival in enumerate(drawn)]


def _tenant_arrivals(
    plan: LoadPlan, tenant: TenantLoad, rate: float, weights: Sequence[float], rng: random.Random
) -> Iterator[Arrival]:
    if rate <= 0:
        return
    for at in arrival_times(rng, rate, plan.duration, plan.cv):
        shape = rng.choices(plan.shapes, weights)[0]
        size = shape.draw(rng)
        group, prefix_tokens = "", 0
        if plan.prefixes is not None and shape.outputs is not None and rng.random() < plan.prefixes.share:
            group = f"{tenant.name}/{rng.randrange(plan.prefixes.groups)}"
            prefix_tokens = plan.prefixes.tokens
        yield Arrival(
            0,
            at,
            shape.kind,
            tenant.name,
            size.input_tokens + prefix_tokens,
            size.output_tokens,
            shape.service_class,
            shape.max_tokens,
            size.items,
            group,
            prefix_tokens,
            shape.streaming,
        )
