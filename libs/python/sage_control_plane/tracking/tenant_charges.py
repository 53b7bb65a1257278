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
        cost = self._prices.seconds(route, _unpaid_tokens(request, attempt), attempt.output_tokens)
        self._queue.drained(request, cost, now)
        return cost

    def refund(self, request: PendingRequest, charged_seconds: float) -> None:
        """Refund the charge of a request without an answer."""
        self._queue.settled(request, -charged_seconds)

    def settle_part(
        self, request: PendingRequest, attempt: DispatchedAttempt, output_tokens: int, charged_seconds: float
    ) -> None:
        """Correct the charge of an answer that was stopped to the tokens so far."""
        tokens = _unpaid_tokens(request, attempt)
        cost = self._prices.seconds(request.classification.route, tokens, output_tokens)
        self._queue.settled(request, cost - charged_seconds)

    def settle(
        self, request: PendingRequest, attempt: DispatchedAttempt, used: TokensUsed, charged_seconds: float
    ) -> None:
        """Correct the charge of a complete answer to the tokens used, and learn the answer's length."""
        classification, uncached_tokens = request.classification, _unpaid_tokens(request, attempt)
        if used.input is not None and classification.input_tokens and not attempt.adopted:
            uncached_tokens *= used.input / classification.input_tokens
        output_tokens = attempt.output_tokens if used.output is None else used.output
        cost = self._prices.seconds(classification.route, uncached_tokens, output_tokens)
        self._queue.settled(request, cost - charged_seconds)
        whole = None if used.output is None else request.delivered_tokens + used.output
        self._lengths.learn(request.tenant, classification, whole)


def _unpaid_tokens(request: PendingRequest, attempt: DispatchedAttempt) -> float:
    """Return the input tokens that a tenant pays for: none of an answer's that was stopped for the sake of others."""
    return 0.0 if request.interrupted and request.delivered_tokens else attempt.uncached_tokens
