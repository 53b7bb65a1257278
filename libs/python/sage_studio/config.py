"""Settings of the studio."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from sage_common.config import SectionSettings
from sage_common.ports import SagePorts


class StudioSettings(SectionSettings):
    """Section ``studio``."""

    section: ClassVar[str] = "studio"

    host: str = Field("127.0.0.1", description="address that the studio binds")
    port: int = Field(
        default_factory=lambda: SagePorts.STUDIO.here, ge=0, le=65535, description="its port; 0 takes a free one"
    )
    target: str = Field("", description="URL of the gateway that it shows; empty for the one of this machine")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="host names that it answers for, beside localhost, addresses and this machine's name"
    )
    insecure: bool = Field(
        False, description="on another address than loopback, let visitors without a key see a mesh that asks for none"
    )
    session_hours: float = Field(12.0, gt=0, description="how long a visitor's key is kept, in memory only")
