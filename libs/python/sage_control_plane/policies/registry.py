"""The policies by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sage_common.errors import InvalidRequestError
from sage_control_plane.policies.fifo import FifoSchedulingPolicy
from sage_control_plane.policies.hybrid import HybridSchedulingPolicy
from sage_control_plane.policies.hybrid_settings import HybridSettings
from sage_control_plane.policies.policy import SchedulingPolicy
from sage_control_plane.policies.priority import PrioritySchedulingPolicy, PrioritySettings
from sage_control_plane.policies.slo_aware import SloAwareSchedulingPolicy


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Knobs of all policies, by name."""

    priority: PrioritySettings = PrioritySettings()
    hybrid: HybridSettings = HybridSettings()


POLICIES: Mapping[str, Callable[[PolicySettings], SchedulingPolicy]] = {
    "fifo": lambda settings: FifoSchedulingPolicy(),
    "priority": lambda settings: PrioritySchedulingPolicy(settings.priority.ageing_seconds),
    "slo_aware": lambda settings: SloAwareSchedulingPolicy(),
    "hybrid": lambda settings: HybridSchedulingPolicy(settings.hybrid),
}


def policy_names() -> list[str]:
    """Every name that ``make_policy`` takes."""
    return sorted(POLICIES)


def check_policy(name: str) -> str:
    """Return ``name``.

    Raises:
        InvalidRequestError: no policy has this name; the message lists those that exist.
    """
    if name not in POLICIES:
        close = difflib.get_close_matches(name, POLICIES, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InvalidRequestError(
            f"no scheduling policy is called {name!r}; {hint}known: {', '.join(policy_names())}",
            code="unknown_policy",
            param="policy",
        )
    return name


def make_policy(name: str, settings: PolicySettings) -> SchedulingPolicy:
    """Make an empty policy. Raises InvalidRequestError on an unknown name."""
    return POLICIES[check_policy(name)](settings)
