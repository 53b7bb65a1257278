"""The registry of policies. A new policy is a file beside this one and a line here: the import of its entry."""

# ruff: noqa: F401 - the imports are the registry.
from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import field, make_dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sage_common.errors import InvalidRequestError
from sage_control_plane.policies.fifo import FIFO
from sage_control_plane.policies.hybrid import HYBRID
from sage_control_plane.policies.policy import PolicyType, SchedulingPolicy
from sage_control_plane.policies.priority import PRIORITY
from sage_control_plane.policies.slo_aware import SLO_AWARE

POLICIES: Mapping[str, PolicyType[Any]] = MappingProxyType(
    {entry.name: entry for entry in list(globals().values()) if isinstance(entry, PolicyType)}
)

if TYPE_CHECKING:

    class PolicySettings:
        """Settings of every policy, by its name."""

        def __init__(self, **of_policies: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

else:
    PolicySettings = make_dataclass(
        "PolicySettings",
        [(entry.name, entry.settings, field(default=entry.settings())) for entry in POLICIES.values()],
        frozen=True,
        slots=True,
    )
    PolicySettings.__module__ = __name__  # so that it can be pickled
    PolicySettings.__doc__ = "Settings of every policy, by its name."


def policy_names() -> list[str]:
    """Return the names that ``make_policy`` takes, sorted."""
    return sorted(POLICIES)


def check_policy(name: str) -> str:
    """Return ``name``.

    Raises:
        InvalidRequestError: no policy has this name; the message lists the names.
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
    return POLICIES[check_policy(name)].build(getattr(settings, name))
