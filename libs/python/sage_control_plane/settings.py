"""Settings of the control plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt, Le

from sage_common.setting_marks import Inlined
from sage_control_plane.placement.scorer_weights import ScorerWeights
from sage_control_plane.policies.admission_settings import AdmissionSettings
from sage_control_plane.policies.registry import PolicySettings
from sage_control_plane.pool.breaker_settings import BreakerSettings
from sage_control_plane.pool.reservation_settings import ReservationSettings
from sage_control_plane.prediction.settings import PredictionSettings
from sage_control_plane.tracking.settings import HedgeSettings, InterruptionSettings, RetrySettings


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """Settings of one pool's manager.

    Attributes:
        scorers: weights of the scorers.
        picker: how an engine is chosen by the scores: adaptive, argmin, power_of_two, round_robin or random.
        headroom: share of an engine's concurrency that may be outstanding on top of it.
        prompt_seconds: predicted seconds of prompts queued on an engine at which new work to it stops.
        explained: latest requests whose decisions are kept for explanations, over all pools.
    """

    policies: Annotated[PolicySettings, Inlined()] = PolicySettings()
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    breaker: BreakerSettings = BreakerSettings()
    retries: RetrySettings = RetrySettings()
    hedging: HedgeSettings = HedgeSettings()
    interruption: InterruptionSettings = InterruptionSettings()
    prediction: PredictionSettings = PredictionSettings()
    scorers: ScorerWeights = ScorerWeights()
    picker: str = "adaptive"
    headroom: Annotated[float, Ge(0), Le(10)] = 0.0
    reservation: ReservationSettings = ReservationSettings()
    prompt_seconds: Annotated[float, Gt(0)] = 0.15
    explained: Annotated[int, Ge(0)] = 10_000
