"""Tenants' charges for their requests, in engine-seconds."""

from __future__ import annotations

from sage_control_plane.policies.work_queue import WorkQueue
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.prediction.output_length import OutputLengths
from sage_control_plane.prediction.prices import Prices
from sage_control_plane.request.request import PendingRequest, TokensUsed


class TenantCharges:
    """Charges an estimate at dispatch and corrects it to the tokens used."""

    def __init__(self, queue: WorkQueue, prices: Prices, lengths: OutputLengths) -> None:
        self._queue = queue
        self._prices = prices
        self._lengths = lengths

    def charge(self, request: PendingRequest, attempt: DispatchedAttempt, now: float) -> float:
        """Charge the estimate of a dispatched request; return it in engine-seconds."""
        route = request.classification.route
        cost = self._prices.seconds(route, attempt.uncached_tokens, attempt.output_tokens)
        self._queue.drained(request, cost, now)
        return cost

    def refund(self, request: PendingRequest, charged_seconds: float) -> None:
        """Refund the charge of a request without an answer."""
        self._queue.settled(request, -charged_seconds)

    def settle(
        self, request: PendingRequest, attempt: DispatchedAttempt, used: TokensUsed, charged_seconds: float
    ) -> None:
        """Correct the charge of a complete answer to the tokens used, and learn the answer's length."""
        classification, uncached_tokens = request.classification, attempt.uncached_tokens
        if used.input is not None and classification.input_tokens and not attempt.adopted:
            uncached_tokens *= used.input / classification.input_tokens
        output_tokens = attempt.output_tokens if used.output is None else used.output
        cost = self._prices.seconds(classification.route, uncached_tokens, output_tokens)
        self._queue.settled(request, cost - charged_seconds)
        self._lengths.learn(request.tenant, classification, used.output)
