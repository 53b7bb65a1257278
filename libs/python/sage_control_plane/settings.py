"""Knobs of the control plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt, Le

from sage_common.setting_marks import Inlined
from sage_control_plane.placement.scorers import ScorerWeights
from sage_control_plane.policies.admission import AdmissionSettings
from sage_control_plane.policies.registry import PolicySettings
from sage_control_plane.pool.breaker import BreakerSettings
from sage_control_plane.prediction.settings import PredictionSettings
from sage_control_plane.tracking.backoff import Backoff


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """Knobs of one pool's manager.

    Attributes:
        scorers: weights of the scorers.
        picker: how an engine is chosen by the scores: adaptive, argmin, power_of_two, round_robin or random.
        headroom: share of an engine's concurrency that may be outstanding on top of it.
        prompt_seconds: prompts waiting on an engine, in predicted seconds, at which it gets no more.
        max_tries: dispatches of one submission, at most; hedges come on top.
        retry_ratio: retries allowed for each request.
        retry_floor_per_second: retries allowed whatever the traffic.
        hedge_ratio: hedged requests as a share of all; 0 for none.
        hedge_factor: multiple of its predicted TTFT after which a request without a first token may be hedged.
        hedge_least_seconds: no request is hedged before this.
        explained: latest requests whose decisions are kept for explanations, of all pools.
        absence_seconds: how long queued work waits for an engine after the last that served it is gone.
    """

    policies: Annotated[PolicySettings, Inlined()] = PolicySettings()
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    breaker: BreakerSettings = BreakerSettings()
    backoff: Backoff = Backoff()
    prediction: PredictionSettings = PredictionSettings()
    scorers: ScorerWeights = ScorerWeights()
    picker: str = "adaptive"
    headroom: Annotated[float, Ge(0), Le(10)] = 0.1
    prompt_seconds: Annotated[float, Gt(0)] = 0.15
    max_tries: Annotated[int, Ge(1)] = 3
    retry_ratio: Annotated[float, Ge(0)] = 0.2
    retry_floor_per_second: Annotated[float, Ge(0)] = 1.0
    hedge_ratio: Annotated[float, Ge(0), Le(1)] = 0.05
    hedge_factor: Annotated[float, Ge(1)] = 3.0
    hedge_least_seconds: Annotated[float, Gt(0)] = 0.1
    explained: Annotated[int, Ge(0)] = 10_000
    absence_seconds: Annotated[float, Ge(0)] = 5.0
