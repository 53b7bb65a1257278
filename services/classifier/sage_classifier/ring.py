"""NATS ↔ domain: classifies batches from the edges and sends them on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from prometheus_client import Counter, Histogram

from sage.inference.v1 import request_pb2
from sage_common.clock import Clock
from sage_common.errors import SageError, describe
from sage_common.logging import get_logger
from sage_control_plane.request.classification import RequestClassifier
from sage_control_plane.request.request import Attempt
from sage_mesh.classify_span import classify_traced
from sage_mesh.directory import EngineDirectory
from sage_mesh.pool_choice import PoolChoice
from sage_mesh.pool_sender import PoolSender
from sage_mesh.wire.frames import error_frame
from sage_platform import subjects
from sage_platform.ring import Ring

log = get_logger(__name__)

# For what has been delivered and not been classified yet.
LEAVE_SECONDS = 2.0


class ClassifierRing:
    """Takes requests from the ring and sends them to their pools, or an error to their edge."""

    def __init__(
        self,
        ring: Ring,
        classifier: RequestClassifier,
        directory: EngineDirectory,
        clock: Clock,
        classified: Counter,
        seconds: Histogram,
    ) -> None:
        self._ring = ring
        self._classifier = classifier
        self._clock = clock
        self._pools = PoolSender(ring, clock)
        self._choice = PoolChoice(directory, clock)
        self._classified = classified
        self._seconds = seconds
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Join the queue group."""
        self._subscription = await self._ring.subscribe(
            subjects.CLASSIFY, request_pb2.InferenceRequestBatch, self._on_requests, queue=subjects.CLASSIFY_QUEUE
        )

    async def close(self) -> None:
        """Leave the queue group, send on what has come, and stop; edges submit again what waits for a leader."""
        if self._subscription is not None:
            try:
                await asyncio.wait_for(self._subscription.drain(), LEAVE_SECONDS)  # type: ignore[no-untyped-call]
            except (NatsError, asyncio.TimeoutError) as error:
                log.warning("requests may be left; their edges submit them again", error=describe(error))
        await self._ring.flush()
        await self._pools.close()

    def classify(self, request: request_pb2.InferenceRequest) -> request_pb2.Classification:
        """Classify one request; the gRPC API uses it too. Raises SageError."""
        return classify_traced(self._ring.tracer, self._classifier, request, self._choice)

    def _on_requests(self, requests: Sequence[request_pb2.InferenceRequest]) -> None:
        began = self._clock.now()
        failed = 0
        for request in requests:
            try:
                classification = self.classify(request)
                self._pools.send(request_pb2.ClassifiedRequest(request=request, classification=classification))
            except SageError as error:
                failed += 1
                self._refuse(request, error)
        self._classified.labels(outcome="ok").inc(len(requests) - failed)
        if failed:
            self._classified.labels(outcome="refused").inc(failed)
        self._seconds.observe((self._clock.now() - began) / len(requests))

    def _refuse(self, request: request_pb2.InferenceRequest, error: SageError) -> None:
        attempt = Attempt(request.submission, 0)
        self._ring.send(request.reply_subject, error_frame(request.request_id, attempt, error))
