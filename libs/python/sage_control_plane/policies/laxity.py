"""Deadlines, and the latest time to dispatch a request."""

from __future__ import annotations

from sage_control_plane.policies.policy import PoolView
from sage_control_plane.request.request import PendingRequest

# Deadline of requests without a target: far but finite, so that laxity stays comparable and none starves.
FAR_SECONDS = 3600.0
# With this much time left a request can meet its deadline, whatever is predicted.
FAR_OFF_SECONDS = 30.0


def deadline(request: PendingRequest) -> float:
    """Return the time by which the answer is to begin, or to be complete where nothing is streamed."""
    target = request.classification.begin_target_seconds
    return request.arrived_at + (FAR_SECONDS if target is None else target)


def latest_start(request: PendingRequest, view: PoolView) -> float:
    """Return ``deadline - predicted TTFT``; the deadline alone without a trusted prediction."""
    predicted = view.predicted_ttft_seconds(request)
    return deadline(request) if predicted is None else deadline(request) - predicted
