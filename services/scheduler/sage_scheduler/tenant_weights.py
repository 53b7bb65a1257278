"""The shares of tenants: those of the settings, and over them those that operators have given while the mesh runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sage_common.tenants import Tenant
from sage_control_plane.settings import ControlSettings


class TenantWeights:
    """Keeps the weights that a scheduler's policies read up to date.

    Attributes:
        control: the settings, with weights that change.
    """

    def __init__(self, control: ControlSettings) -> None:
        self._set = dict(control.policies.hybrid.weights)
        # Policies read it at every charge; a later one changes nothing that was charged.
        self._weights = dict(self._set)
        hybrid = replace(control.policies.hybrid, weights=self._weights)
        policies = replace(control.policies, hybrid=hybrid)  # type: ignore[type-var]  # made by make_dataclass
        self.control = replace(control, policies=policies)

    def follow(self, tenants: Iterable[Tenant]) -> None:
        """Go by the tenants as they are now."""
        given = {tenant.name: tenant.weight for tenant in tenants if tenant.weight is not None}
        self._weights.clear()
        self._weights.update(self._set | given)
