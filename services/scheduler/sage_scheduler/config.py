"""Settings of the scheduler: its own, and those of the control plane under their names there."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from sage_common.config import gathered, including
from sage_common.errors import ConfigurationError, SageError
from sage_common.service_settings import ServiceSettings
from sage_control_plane.placement.pickers import make_picker
from sage_control_plane.policies.registry import check_policy
from sage_control_plane.settings import ControlSettings


@including(ControlSettings)
class SchedulerSettings(ServiceSettings):
    """Section ``scheduler``."""

    section: ClassVar[str] = "scheduler"

    policy: str = Field("hybrid", description="policy of pools for which no other is set")
    forget_drained_seconds: float = Field(
        3600.0, ge=0, description="absence of an engine after which the order to drain it is forgotten"
    )
    submit_timeout_seconds: float = Field(600.0, gt=0, description="time-out of gRPC submissions that name none")

    def control(self) -> ControlSettings:
        """Return the control plane's settings.

        Raises:
            ConfigurationError: no policy or no picker has the name set.
        """
        control = gathered(ControlSettings, self)
        try:
            check_policy(self.policy)
            make_picker(control.picker)
        except SageError as error:
            raise ConfigurationError(f"section scheduler: {error.message}") from None
        return control
