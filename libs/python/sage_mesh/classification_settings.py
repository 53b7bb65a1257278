"""Settings of classification: one section, read by the classifier and by every edge that classifies in its stead."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from sage_common.config import SectionSettings, nearest
from sage_control_plane.request.classification import ClassificationRules
from sage_control_plane.request.features import DEFAULT_BLOCK_BYTES, MAX_BLOCK_BYTES
from sage_control_plane.request.request import Priority


class ClassificationSettings(SectionSettings):
    """Section ``classification``."""

    section: ClassVar[str] = "classification"

    block_bytes: int = Field(DEFAULT_BLOCK_BYTES, ge=64, le=MAX_BLOCK_BYTES, multiple_of=8, description="prefix block")
    output_cap_tokens: int = Field(512, ge=1, description="longest output assumed when a caller sets no limit")
    tenant_ceilings: dict[str, str] = Field(
        default_factory=dict, description="most urgent priority of a tenant: critical, high, normal, low, background"
    )

    @field_validator("tenant_ceilings")
    @classmethod
    def _known_priorities(cls, value: dict[str, str]) -> dict[str, str]:
        known = [priority.name.lower() for priority in Priority]
        for tenant, name in value.items():
            if name.lower() not in known:
                raise ValueError(f"tenant {tenant!r} has priority {name!r}{nearest(name.lower(), known)}")
        return value

    def rules(self) -> ClassificationRules:
        """The rules for a classifier."""
        return ClassificationRules(
            block_bytes=self.block_bytes,
            output_cap_tokens=self.output_cap_tokens,
            tenant_ceilings={tenant: Priority[name.upper()] for tenant, name in self.tenant_ceilings.items()},
        )
