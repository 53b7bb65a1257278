"""When a request must be dispatched at the latest."""

from __future__ import annotations

from sage_control_plane.policies.policy import PoolView
from sage_control_plane.request.request import PendingRequest

# For requests without any target: far, never infinite, so that laxity stays comparable and nobody starves.
FAR_SECONDS = 3600.0


def deadline(request: PendingRequest) -> float:
    """Return when the answer is to begin, or to be complete where nothing is streamed."""
    target = request.classification.begin_target_seconds
    return request.arrived_at + (FAR_SECONDS if target is None else target)


def latest_start(request: PendingRequest, view: PoolView) -> float:
    """Return ``deadline - predicted TTFT``; the deadline alone while nothing trustworthy is predicted."""
    predicted = view.predicted_ttft_seconds(request)
    return deadline(request) if predicted is None else deadline(request) - predicted
