"""Who sends how much."""

from __future__ import annotations

from dataclasses import dataclass

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
