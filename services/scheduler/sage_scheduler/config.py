"""Settings of the scheduler."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from sage_common.errors import ConfigurationError, SageError
from sage_common.service_settings import ServiceSettings
from sage_control_plane.placement.pickers import make_picker
from sage_control_plane.placement.scorers import ScorerWeights
from sage_control_plane.policies.admission import AdmissionSettings, QueueLimit
from sage_control_plane.policies.hybrid_settings import HybridSettings
from sage_control_plane.policies.registry import PolicySettings, check_policy
from sage_control_plane.pool.breaker import BreakerSettings
from sage_control_plane.request.request import ServiceClass
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.backoff import Backoff


class SchedulerSettings(ServiceSettings):
    """Section ``scheduler``."""

    section: ClassVar[str] = "scheduler"

    policy: str = Field("hybrid", description="policy of pools for which nobody has set another")
    ageing_seconds: float = Field(5.0, gt=0, description="wait that counts as one level of urgency (priority)")
    picker: str = Field("adaptive", description="adaptive, argmin, power_of_two, round_robin or random")
    headroom: float = Field(0.1, ge=0, le=10, description="share of an engine's concurrency allowed on top of it")
    prompt_seconds: float = Field(0.15, gt=0, description="predicted wait for prompts at which an engine gets no more")
    least_work_weight: float = Field(1.0, ge=0, description="placement: the engine through with everything soonest")
    soonest_weight: float = Field(1.0, ge=0, description="placement: the engine that begins soonest")
    headroom_weight: float = Field(0.0, ge=0, description="placement: the engine that can just meet the targets")
    prefix_weight: float = Field(0.5, ge=0, description="placement: the engine that has the prompt cached")
    holdback_most: float = Field(1.0, gt=0, description="saturation up to which the first band dispatches (hybrid)")
    holdback_least: float = Field(0.3, gt=0, description="saturation up to which the last band dispatches (hybrid)")
    holdback_memory_seconds: float = Field(10.0, ge=0, description="how long urgent work is expected again (hybrid)")
    starvation_seconds: float = Field(10.0, gt=0, description="wait after which a band gets one dispatch (hybrid)")
    tenant_weights: dict[str, float] = Field(default_factory=dict, description="tenants' shares; 1 for others (hybrid)")
    hedge_ratio: float = Field(0.05, ge=0, le=1, description="hedged requests as a share of all; 0 for none")
    hedge_factor: float = Field(3.0, ge=1, description="overdue by so many times the predicted wait is hedged")
    hedge_least_seconds: float = Field(0.1, gt=0, description="no request is hedged before this")
    explained: int = Field(10_000, ge=0, description="latest requests whose decisions are kept, of all pools")
    max_queued: int = Field(20_000, ge=1, description="requests queued of one class in one pool, at most")
    max_queued_bytes: int = Field(256 * 1024 * 1024, ge=1, description="bytes queued of one class in one pool")
    class_max_queued: dict[str, int] = Field(
        default_factory=dict, description="max_queued by class: interactive, default, embedding, bulk"
    )
    max_tries: int = Field(3, ge=1, description="dispatches of one submission, at most; hedges come on top")
    retry_ratio: float = Field(0.2, ge=0, description="retries allowed for each request")
    retry_floor_per_second: float = Field(1.0, ge=0, description="retries allowed whatever the traffic")
    absence_seconds: float = Field(5.0, ge=0, description="wait for another engine when the last of a model is gone")
    consecutive_failures: int = Field(5, ge=1, description="failures in a row that eject an engine")
    base_ejection_seconds: float = Field(1.0, gt=0, description="first ejection; each further one doubles it")
    max_ejection_seconds: float = Field(60.0, gt=0, description="longest ejection")
    max_ejection_percent: float = Field(50.0, ge=0, le=100, description="engines of one model ejected at once, at most")
    forget_drained_seconds: float = Field(
        3600.0, ge=0, description="the order to drain an engine is forgotten when it has been gone for so long"
    )
    submit_timeout_seconds: float = Field(600.0, gt=0, description="time-out of gRPC submissions that name none")

    def control(self) -> ControlSettings:
        """The control plane's knobs.

        Raises:
            ConfigurationError: a policy, picker or class that does not exist.
        """
        try:
            check_policy(self.policy)
            make_picker(self.picker)
            hybrid = HybridSettings(
                self.holdback_most,
                self.holdback_least,
                self.holdback_memory_seconds,
                self.starvation_seconds,
                weights=self.tenant_weights,
            )
            weights = (self.least_work_weight, self.soonest_weight, self.headroom_weight, self.prefix_weight)
            scorers = ScorerWeights(*weights)
            limits = {_class(name): QueueLimit(n, self.max_queued_bytes) for name, n in self.class_max_queued.items()}
        except SageError as error:
            raise ConfigurationError(f"section scheduler: {error.message}") from None
        except ValueError as error:
            raise ConfigurationError(f"section scheduler: {error}") from None
        return ControlSettings(
            policies=PolicySettings(ageing_seconds=self.ageing_seconds, hybrid=hybrid),
            scorers=scorers,
            prompt_seconds=self.prompt_seconds,
            hedge_ratio=self.hedge_ratio,
            hedge_factor=self.hedge_factor,
            hedge_least_seconds=self.hedge_least_seconds,
            explained=self.explained,
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
        )


def _class(name: str) -> ServiceClass:
    try:
        return ServiceClass[name.upper()]
    except KeyError:
        known = ", ".join(c.name.lower() for c in ServiceClass)
        raise ConfigurationError(f"class_max_queued: no class is called {name!r}; known: {known}") from None
