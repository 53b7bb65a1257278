"""Admission to the queue: bounds by class, and the Retry-After of refusals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sage_common.errors import ContendedError
from sage_control_plane.policies.admission_settings import AdmissionSettings
from sage_control_plane.prediction.pace import DecayedRate
from sage_control_plane.request.request import PendingRequest, ServiceClass


@dataclass(slots=True)
class Queued:
    """Requests and bytes queued of one class."""

    requests: int = 0
    body_bytes: int = 0


class Admission:
    """Counts the queue by class and refuses requests beyond its bounds."""

    def __init__(self, settings: AdmissionSettings) -> None:
        self._settings = settings
        self._most_requests = settings.most_requests()
        self._tokens = 0
        self._drained = DecayedRate()
        self.queued: dict[ServiceClass, Queued] = {service_class: Queued() for service_class in ServiceClass}

    def refusal(self, request: PendingRequest, now: float) -> ContendedError | None:
        """Return the error that keeps the request out of the queue; None when it may join."""
        service_class = request.classification.service_class
        queued = self.queued[service_class]
        if queued.requests >= self._most_requests[service_class]:
            full = f"{queued.requests} requests of class {service_class.name.lower()} are queued, the most allowed"
        elif queued.body_bytes + request.body_bytes > self._settings.max_queued_bytes:
            most = self._settings.max_queued_bytes
            full = f"{queued.body_bytes} bytes of class {service_class.name.lower()} are queued of {most}"
        elif request.classification.sheddable and self._too_late(request, now):
            full = "what is queued already will take longer than this request can wait"
        else:
            return None
        return self.contended(full, now)

    def _too_late(self, request: PendingRequest, now: float) -> bool:
        """Return whether the queue is expected to outlast the request's deadline; then it is refused at once."""
        wait = self.wait_seconds(now)
        if wait is None:
            return False
        target = request.classification.begin_target_seconds
        due = request.expires_at if target is None else min(request.expires_at, request.arrived_at + target)
        return now + wait > due

    def contended(self, why: str, now: float) -> ContendedError:
        """Return the 429 for ``why``, with Retry-After from the measured drain rate."""
        seconds = self.retry_after_seconds(now)
        return ContendedError(f"{why}; try again in {seconds:g} s", code="queue_full", retry_after_seconds=seconds)

    def retry_after_seconds(self, now: float) -> float:
        """Return the whole seconds until the queue will have drained: queued tokens / drain rate."""
        wait = self.wait_seconds(now)
        if wait is None:
            return self._settings.unknown_retry_seconds
        return float(min(self._settings.most_retry_seconds, max(1, math.ceil(wait))))

    def wait_seconds(self, now: float) -> float | None:
        """Return the seconds until the queue will have drained; None while no rate has been measured."""
        rate = self.tokens_per_second(now)
        return self._tokens / rate if rate > 0 else None

    def tokens_per_second(self, now: float) -> float:
        """Return the rate at which requests leave the queue for engines; 0 while none has."""
        return self._drained.per_second(now)

    def joined(self, request: PendingRequest) -> None:
        """Count a request that was queued."""
        queued = self.queued[request.classification.service_class]
        queued.requests += 1
        queued.body_bytes += request.body_bytes
        self._tokens += request.classification.tokens

    def left(self, request: PendingRequest) -> None:
        """Take a request off the counts that has left the queue."""
        queued = self.queued[request.classification.service_class]
        queued.requests -= 1
        queued.body_bytes -= request.body_bytes
        self._tokens -= request.classification.tokens

    def drained(self, request: PendingRequest, now: float) -> None:
        """Add a request that was dispatched to the drain rate."""
        self._drained.add(request.classification.tokens, now)
