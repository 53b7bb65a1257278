"""What is to be expected of a pool's queue: how long it takes to drain, and who of it is answered in time.

Both go by the present rate of dispatches, so they are what a scaler of engines asks for: a queue that the engines keep
up with has a short time to drain however many requests pass through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sage_control_plane.policies.laxity import latest_start
from sage_control_plane.policies.policy import PoolView
from sage_control_plane.request.request import PendingRequest


@dataclass(frozen=True, slots=True)
class Outlook:
    """The expectation.

    Attributes:
        drain_seconds: until what is queued will have been dispatched; None while no rate is known.
        attainment: share of the queued requests with a target for their beginning that meet it; 1 where none waits,
            None while no rate is known.
    """

    drain_seconds: float | None
    attainment: float | None


def outlook(waiting: Sequence[PendingRequest], tokens_per_second: float, view: PoolView, now: float) -> Outlook:
    """Return what is to be expected of ``waiting``.

    Attainment is that of the best order there is, earliest latest start first: requests without a target give way. A
    policy that does otherwise, for fairness, attains less.

    Args:
        tokens_per_second: the rate at which the queue is dispatched now; 0 where it is not known.
    """
    if not waiting:
        return Outlook(0.0, 1.0)
    if tokens_per_second <= 0.0:
        return Outlook(None, None)
    tokens = sum(request.classification.tokens for request in waiting)
    targeted = [request for request in waiting if request.classification.begin_target_seconds is not None]
    due = sorted((latest_start(request, view), request.classification.tokens) for request in targeted)
    at, met = now, 0
    for latest, own_tokens in due:
        # One that is late already takes nobody's turn.
        if at <= latest:
            met += 1
            at += own_tokens / tokens_per_second
    return Outlook(tokens / tokens_per_second, met / len(due) if due else 1.0)
