"""Knobs of the control plane."""

from __future__ import annotations

from dataclasses import dataclass, field

from sage_control_plane.admission import AdmissionSettings
from sage_control_plane.backoff import Backoff
from sage_control_plane.breaker import BreakerSettings
from sage_control_plane.policies.registry import PolicySettings


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """Knobs of one pool's manager.

    Attributes:
        picker: name of the picker.
        headroom: share of an engine's concurrency that may be outstanding on top of it.
        max_tries: dispatches of one submission, at most.
        retry_ratio: retries allowed for each request.
        retry_floor_per_second: retries allowed whatever the traffic.
        absence_seconds: how long queued work waits for an engine after the last that served it is gone.
    """

    policies: PolicySettings = PolicySettings()
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    breaker: BreakerSettings = BreakerSettings()
    backoff: Backoff = Backoff()
    picker: str = "adaptive"
    headroom: float = 0.1
    max_tries: int = 3
    retry_ratio: float = 0.2
    retry_floor_per_second: float = 1.0
    absence_seconds: float = 5.0
