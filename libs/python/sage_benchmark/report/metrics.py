"""Figures of one run, from the outcomes of all its requests, and their spread over several runs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, stdev
from typing import Any

from sage_benchmark.report.fairness import demand_by_tenant, service_by_tenant, service_fairness
from sage_benchmark.report.outcome import RequestOutcome, level_of, meets
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_control_plane.request.request import ServiceClass

# How soon a first token is to come, where nothing other is asked for.
WITHIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles by the nearest rank, in milliseconds; ``count`` of what they are taken from."""

    count: int
    p50: float
    p95: float
    p99: float

    @staticmethod
    def of(seconds: Iterable[float]) -> Percentiles:
        """Take them from values in seconds; zeros where there are none."""
        ordered = sorted(seconds)
        if not ordered:
            return Percentiles(0, 0.0, 0.0, 0.0)
        return Percentiles(len(ordered), *(_rank(ordered, share) * 1000 for share in (0.50, 0.95, 0.99)))


@dataclass(frozen=True, slots=True)
class GroupMetrics:
    """Figures of the requests of one class or tenant.

    Attributes:
        attainment: share of all that were sent which were served within every target.
        served: share of all that were sent which were answered completely.
        ttft, end_to_end: from the scheduled arrival, of the requests that got so far. A system that rejects much looks
            good in these; read them beside ``served``.
        within: share of all that were sent whose first token came within ``RunMetrics.within_seconds``.
    """

    requests: int
    attainment: float
    served: float
    ttft: Percentiles
    tpot: Percentiles
    end_to_end: Percentiles
    within: float = 0.0


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """Figures of one run.

    Attributes:
        seconds: in which requests arrived; rates are per second of it.
        goodput: requests a second that were served within every target.
        throughput: requests a second that were served.
        tokens_per_second: tokens generated, of all answers.
        tokens_in_time: tokens a second that came while requests arrived; where more is asked for than can be had, what
            comes later is the rest of the queue.
        within_seconds: what ``GroupMetrics.within`` counts to.
        jain: fairness of service among tenants; see ``fairness``.
        errors: how many requests failed in which way.
        engines: requests served by each engine, where the system tells.
        cached_prompt_share: share of the prompt tokens that engines found in their prefix caches.
        cached_prompt_tokens: how many those are.
        interruptions: running bulk answers that gave their seats to more urgent work.
        recomputed_share: tokens of prompts and answers that were computed again after that, as a share of all tokens.
        late_p99_ms: how late the load generator was; figures of a late run are of the generator too.
    """

    requests: int
    seconds: float
    attainment: float
    goodput: float
    throughput: float
    tokens_per_second: float
    jain: float
    by_class: dict[str, GroupMetrics] = field(default_factory=dict)
    by_tenant: dict[str, GroupMetrics] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    engines: dict[str, int] = field(default_factory=dict)
    late_p99_ms: float = 0.0
    cached_prompt_share: float = 0.0
    tokens_in_time: float = 0.0
    within_seconds: float = WITHIN_SECONDS
    interruptions: int = 0
    recomputed_share: float = 0.0
    cached_prompt_tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def measure(
    outcomes: Sequence[RequestOutcome],
    seconds: float,
    config: EngineModelConfig,
    within_seconds: float = WITHIN_SECONDS,
) -> RunMetrics:
    """Return the figures of a run.

    Args:
        seconds: length of the time in which requests arrived, > 0.
        config: what engine-seconds are, for the fairness of service.
        within_seconds: see ``GroupMetrics.within``.
    """
    good = {id(outcome) for outcome in outcomes if meets(outcome, level_of(outcome.arrival))}
    served = [outcome for outcome in outcomes if outcome.served]
    classes: dict[str, list[RequestOutcome]] = defaultdict(list)
    tenants: dict[str, list[RequestOutcome]] = defaultdict(list)
    for outcome in outcomes:
        classes[outcome.arrival.service_class.name.lower()].append(outcome)
        tenants[outcome.arrival.tenant].append(outcome)
    service = service_by_tenant(outcomes, config, until=seconds)
    return RunMetrics(
        requests=len(outcomes),
        seconds=seconds,
        attainment=_share(len(good), len(outcomes)),
        goodput=len(good) / seconds,
        throughput=len(served) / seconds,
        tokens_per_second=sum(outcome.tokens for outcome in outcomes) / seconds,
        jain=service_fairness(service, demand_by_tenant(outcomes, config), {}),
        by_class={name: _group(group, good, within_seconds) for name, group in sorted(classes.items())},
        by_tenant={name: _group(group, good, within_seconds) for name, group in sorted(tenants.items())},
        errors=dict(sorted(Counter(o.error for o in outcomes if o.error).items())),
        engines=dict(sorted(Counter(o.engine for o in served if o.engine).items())),
        late_p99_ms=Percentiles.of(o.sent_at - o.arrival.at_seconds for o in outcomes).p99,
        tokens_in_time=sum(outcome.tokens_until(seconds) for outcome in outcomes) / seconds,
        within_seconds=within_seconds,
    )


def ttft_for_cdf(outcomes: Iterable[RequestOutcome], service_class: ServiceClass) -> list[float]:
    """Times to first token of a class in seconds; infinite for requests that were not served."""
    return [
        outcome.ttft_seconds if outcome.served and outcome.ttft_seconds is not None else math.inf
        for outcome in outcomes
        if outcome.arrival.service_class is service_class
    ]


def _group(outcomes: Sequence[RequestOutcome], good: set[int], within_seconds: float) -> GroupMetrics:
    soon = (o for o in outcomes if o.served and o.ttft_seconds is not None and o.ttft_seconds <= within_seconds)
    return GroupMetrics(
        requests=len(outcomes),
        attainment=_share(sum(id(outcome) in good for outcome in outcomes), len(outcomes)),
        served=_share(sum(outcome.served for outcome in outcomes), len(outcomes)),
        ttft=_percentiles(outcome.ttft_seconds for outcome in outcomes),
        tpot=_percentiles(outcome.tpot_seconds for outcome in outcomes),
        end_to_end=_percentiles(outcome.end_to_end_seconds for outcome in outcomes),
        within=_share(sum(1 for _ in soon), len(outcomes)),
    )


def _percentiles(values: Iterable[float | None]) -> Percentiles:
    return Percentiles.of(value for value in values if value is not None)


def _rank(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over repetitions; ``deviation`` is the sample's, 0 for a single one."""

    mean: float
    low: float
    high: float
    deviation: float
    repetitions: int

    @staticmethod
    def of(values: Iterable[float]) -> Spread:
        """Summarise at least one value."""
        given = list(values)
        return Spread(fmean(given), min(given), max(given), stdev(given) if len(given) > 1 else 0.0, len(given))


def flatten(metrics: RunMetrics) -> dict[str, float]:
    """Every number of a run under a dotted name, e.g. ``by_class.interactive.ttft.p99``."""
    flat: dict[str, float] = {}
    _flatten(metrics.to_json(), "", flat)
    return flat


def spread(runs: Sequence[RunMetrics]) -> dict[str, Spread]:
    """Spread of every number that is in all repetitions. ValueError without a repetition."""
    if not runs:
        raise ValueError("there is no repetition to summarise")
    flat = [flatten(run) for run in runs]
    return {name: Spread.of(run[name] for run in flat) for name in flat[0] if all(name in run for run in flat)}


def _flatten(value: Mapping[str, Any], prefix: str, flat: dict[str, float]) -> None:
    for name, item in value.items():
        if isinstance(item, Mapping):
            _flatten(item, f"{prefix}{name}.", flat)
        elif isinstance(item, (int, float)):
            flat[f"{prefix}{name}"] = float(item)


@dataclass(frozen=True)
class SystemRuns:
    """One system (a policy, a peer) under one load.

    Attributes:
        name: of the system.
        load: offered, as a multiple of saturation; systems are compared at equal loads.
        runs: one a repetition, each with another seed.
        ttft_seconds: of interactive requests, of all repetitions; infinite where no token came. For the CDF.
        cpu_seconds: CPU time of each service over all repetitions, where it was measured.
    """

    name: str
    load: float
    runs: Sequence[RunMetrics]
    ttft_seconds: Sequence[float] = ()
    cpu_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """Requests sent in all repetitions."""
        return sum(run.requests for run in self.runs)

    @property
    def seconds(self) -> float:
        """Time in which they arrived."""
        return sum(run.seconds for run in self.runs)

    @property
    def figures(self) -> dict[str, Spread]:
        """Spread of every figure over the repetitions."""
        return spread(self.runs)
