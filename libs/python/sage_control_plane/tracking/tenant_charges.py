"""What tenants are charged for their requests, in engine-seconds."""

from __future__ import annotations

from sage_control_plane.policies.work_queue import WorkQueue
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.prediction.output_length import OutputLengths
from sage_control_plane.prediction.prices import Prices
from sage_control_plane.request.request import PendingRequest


class TenantCharges:
    """Charges the estimate at dispatch, and corrects it to what was used."""

    def __init__(self, queue: WorkQueue, prices: Prices, lengths: OutputLengths) -> None:
        self._queue = queue
        self._prices = prices
        self._lengths = lengths

    def charge(self, request: PendingRequest, attempt: DispatchedAttempt, now: float) -> float:
        """Charge a request that goes to an engine with its estimate; return the engine-seconds."""
        route = request.classification.route
        cost = self._prices.seconds(route, attempt.uncached_tokens, attempt.output_tokens)
        self._queue.drained(request, cost, now)
        return cost

    def refund(self, request: PendingRequest, charged_seconds: float) -> None:
        """Give back what was charged for a request that comes to nothing."""
        self._queue.settled(request, -charged_seconds)

    def settle(
        self, request: PendingRequest, attempt: DispatchedAttempt, used: tuple[int, int], charged_seconds: float
    ) -> None:
        """Correct the charge for a complete answer, and learn the answer's length.

        Args:
            used: input and output tokens; 0 for what is not known.
        """
        classification, uncached_tokens = request.classification, attempt.uncached_tokens
        if used[0] and classification.input_tokens and not attempt.adopted:
            uncached_tokens *= used[0] / classification.input_tokens
        cost = self._prices.seconds(classification.route, uncached_tokens, used[1] or attempt.output_tokens)
        self._queue.settled(request, cost - charged_seconds)
        self._lengths.learn(request.tenant, classification, used[1])
