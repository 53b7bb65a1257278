"""Settings of the classifier."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from sage_common.service_settings import ServiceSettings
from sage_control_plane.classification import ClassificationRules
from sage_control_plane.requests import Priority


class ClassifierSettings(ServiceSettings):
    """Section ``classifier``."""

    section: ClassVar[str] = "classifier"

    block_bytes: int = Field(256, ge=8, description="bytes in a prefix block")
    output_cap_tokens: int = Field(512, ge=1, description="longest output assumed when a caller sets no limit")
    tenant_ceilings: dict[str, str] = Field(
        default_factory=dict, description="most urgent priority of a tenant: critical, high, normal, low, background"
    )

    def rules(self) -> ClassificationRules:
        """The rules for the classifier. Raises ValueError on an unknown priority."""
        return ClassificationRules(
            block_bytes=self.block_bytes,
            output_cap_tokens=self.output_cap_tokens,
            tenant_ceilings={tenant: Priority[name.upper()] for tenant, name in self.tenant_ceilings.items()},
        )
