"""How fairly service was shared among tenants.

Jain, Chiu and Hawe, "A Quantitative Measure of Fairness and Discrimination" (DEC-TR-301, 1984): ``(sum x)^2 / (n sum
x^2)`` over each user's throughput divided by its fair throughput. The fair throughput is the weighted max-min share: a
tenant that asks for less than its part gets what it asks for, and the rest is divided among the others. Without that
division a tenant that asks for little would look wronged. Only whole answers count: one under way when arrivals end
counts for nobody, so long answers keep the index a little below 1 in short runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig


def jain_index(values: Iterable[float]) -> float:
    """Return Jain's index of values >= 0: 1 when all are equal, 1/n when one has all. 1 where there is nothing."""
    given = list(values)
    squares = sum(value * value for value in given)
    return sum(given) ** 2 / (len(given) * squares) if squares else 1.0


def max_min_shares(demands: Mapping[str, float], weights: Mapping[str, float], capacity: float) -> dict[str, float]:
    """Divide ``capacity`` by weighted max-min fairness; nobody gets more than it demands. Missing weights are 1."""
    shares: dict[str, float] = {}
    open_ = dict(demands)
    left = capacity
    while open_:
        total = sum(weights.get(name, 1.0) for name in open_)
        level = max(0.0, left) / total
        content = [name for name, demand in open_.items() if demand <= level * weights.get(name, 1.0)]
        if not content:
            return shares | {name: level * weights.get(name, 1.0) for name in open_}
        for name in content:
            shares[name] = open_.pop(name)
            left -= shares[name]
    return shares


def service_by_tenant(
    outcomes: Iterable[RequestOutcome], config: EngineModelConfig, *, until: float
) -> dict[str, float]:
    """Engine-seconds of the requests that were served by ``until`` (seconds), per tenant; 0 for those with none."""
    service: dict[str, float] = {}
    for outcome in outcomes:
        arrival = outcome.arrival
        service.setdefault(arrival.tenant, 0.0)
        if outcome.served and outcome.finished_at is not None and outcome.finished_at <= until:
            service[arrival.tenant] += config.engine_seconds(arrival.kind, arrival.input_tokens, arrival.output_tokens)
    return service


def demand_by_tenant(outcomes: Iterable[RequestOutcome], config: EngineModelConfig) -> dict[str, float]:
    """Engine-seconds of the requests that were sent, per tenant."""
    demand: dict[str, float] = {}
    for outcome in outcomes:
        a = outcome.arrival
        demand[a.tenant] = demand.get(a.tenant, 0.0) + config.engine_seconds(a.kind, a.input_tokens, a.output_tokens)
    return demand


def service_fairness(service: Mapping[str, float], demand: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Jain's index of service over fair service, where what is divided is the service there was in all."""
    fair = max_min_shares(demand, weights, sum(service.values()))
    return jain_index(service[name] / fair[name] for name in service if fair.get(name, 0) > 0)
