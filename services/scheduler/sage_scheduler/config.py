"""Settings of the scheduler."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from sage_common.errors import ConfigurationError, SageError
from sage_common.service_settings import ServiceSettings
from sage_control_plane.admission import AdmissionSettings, QueueLimit
from sage_control_plane.backoff import Backoff
from sage_control_plane.breaker import BreakerSettings
from sage_control_plane.placement.pickers import make_picker
from sage_control_plane.policies.registry import PolicySettings, check_policy
from sage_control_plane.requests import ServiceClass
from sage_control_plane.settings import ControlSettings


class SchedulerSettings(ServiceSettings):
    """Section ``scheduler``."""

    section: ClassVar[str] = "scheduler"

    policy: str = Field("priority", description="policy of pools for which nobody has set another")
    ageing_seconds: float = Field(5.0, gt=0, description="wait that counts as one level of urgency (priority)")
    picker: str = Field("adaptive", description="adaptive, argmin, power_of_two, round_robin or random")
    headroom: float = Field(0.1, ge=0, le=10, description="share of an engine's concurrency allowed on top of it")
    max_queued: int = Field(20_000, ge=1, description="requests queued of one class in one pool, at most")
    max_queued_bytes: int = Field(256 * 1024 * 1024, ge=1, description="bytes queued of one class in one pool")
    class_max_queued: dict[str, int] = Field(
        default_factory=dict, description="max_queued by class: interactive, default, embedding, bulk"
    )
    max_tries: int = Field(3, ge=1, description="dispatches of one submission, at most")
    retry_ratio: float = Field(0.2, ge=0, description="retries allowed for each request")
    retry_floor_per_second: float = Field(1.0, ge=0, description="retries allowed whatever the traffic")
    absence_seconds: float = Field(5.0, ge=0, description="wait for another engine when the last of a model is gone")
    consecutive_failures: int = Field(5, ge=1, description="failures in a row that eject an engine")
    base_ejection_seconds: float = Field(1.0, gt=0, description="first ejection; each further one doubles it")
    max_ejection_seconds: float = Field(60.0, gt=0, description="longest ejection")
    max_ejection_percent: float = Field(50.0, ge=0, le=100, description="engines of one model ejected at once, at most")
    explained: int = Field(10_000, ge=0, description="latest requests whose decisions are kept for explanations")
    submit_timeout_seconds: float = Field(600.0, gt=0, description="time-out of gRPC submissions that name none")

    def control(self) -> ControlSettings:
        """The control plane's knobs.

        Raises:
            ConfigurationError: a policy, picker or class that does not exist.
        """
        try:
            check_policy(self.policy)
            make_picker(self.picker)
            limits = {_class(name): QueueLimit(n, self.max_queued_bytes) for name, n in self.class_max_queued.items()}
        except SageError as error:
            raise ConfigurationError(f"section scheduler: {error.message}") from None
        return ControlSettings(
            policies=PolicySettings(ageing_seconds=self.ageing_seconds),
            admission=AdmissionSettings(QueueLimit(self.max_queued, self.max_queued_bytes), limits),
            breaker=BreakerSettings(
                self.consecutive_failures,
                self.base_ejection_seconds,
                self.max_ejection_seconds,
                self.max_ejection_percent,
            ),
            backoff=Backoff(),
            picker=self.picker,
            headroom=self.headroom,
            max_tries=self.max_tries,
            retry_ratio=self.retry_ratio,
            retry_floor_per_second=self.retry_floor_per_second,
            absence_seconds=self.absence_seconds,
            # A reply takes frames of one attempt only, and a cancellation does not name an engine: two attempts at the
            # same time would cost the one that answers.
            hedge_ratio=0.0,
            explained=self.explained,
        )


def _class(name: str) -> ServiceClass:
    try:
        return ServiceClass[name.upper()]
    except KeyError:
        known = ", ".join(c.name.lower() for c in ServiceClass)
        raise ConfigurationError(f"class_max_queued: no class is called {name!r}; known: {known}") from None
