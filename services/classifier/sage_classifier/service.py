"""gRPC ↔ domain."""

from __future__ import annotations

from grpc import aio

from sage.classifier.v1 import classifier_pb2, classifier_pb2_grpc
from sage_classifier.ring import ClassifierRing


class ClassifierServicer(classifier_pb2_grpc.ClassifierServiceServicer):
    """The gRPC API; the same code path as the ring."""

    def __init__(self, ring: ClassifierRing) -> None:
        self._ring = ring

    async def Classify(  # noqa: N802 - the name in the contract
        self, request: classifier_pb2.ClassifyRequest, context: aio.ServicerContext
    ) -> classifier_pb2.ClassifyResponse:
        return classifier_pb2.ClassifyResponse(classification=self._ring.classify(request.request))
