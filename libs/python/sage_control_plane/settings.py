"""Knobs of the control plane."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        picker: name of the picker.
        headroom: share of an engine's concurrency that may be outstanding on top of it.
        prompt_seconds: prompts waiting on an engine, in predicted seconds, at which it gets no more.
        max_tries: dispatches of one submission, at most; hedges come on top.
        retry_ratio: retries allowed for each request.
        retry_floor_per_second: retries allowed whatever the traffic.
        hedge_ratio: hedges allowed for each request; 0 for none.
        hedge_factor: a request without a first token by so many times its predicted TTFT may be hedged.
        hedge_least_seconds: but not before this.
        explained: latest requests whose decisions are kept for explanations.
        absence_seconds: how long queued work waits for an engine after the last that served it is gone.
    """

    policies: PolicySettings = PolicySettings()
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    breaker: BreakerSettings = BreakerSettings()
    backoff: Backoff = Backoff()
    prediction: PredictionSettings = PredictionSettings()
    scorers: ScorerWeights = ScorerWeights()
    picker: str = "adaptive"
    headroom: float = 0.1
    prompt_seconds: float = 0.15
    max_tries: int = 3
    retry_ratio: float = 0.2
    retry_floor_per_second: float = 1.0
    hedge_ratio: float = 0.05
    hedge_factor: float = 3.0
    hedge_least_seconds: float = 0.1
    explained: int = 10_000
    absence_seconds: float = 5.0
