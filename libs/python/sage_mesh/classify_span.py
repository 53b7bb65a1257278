"""The span of a recorded request's classification."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sage.inference.v1 import request_pb2
from sage_common.errors import SageError
from sage_common.trace_context import is_sampled
from sage_control_plane.request.classification import RequestClassifier
from sage_mesh.classification import classify_message
from sage_mesh.genai_attributes import request_attributes
from sage_mesh.pool_choice import PoolChoice
from sage_mesh.wire.requests import tenant_from_wire
from sage_platform import subjects

if TYPE_CHECKING:
    from sage_platform.tracing.tracer import Tracer


def classify_traced(
    tracer: Tracer | None,
    classifier: RequestClassifier,
    message: request_pb2.InferenceRequest,
    pools: PoolChoice,
) -> request_pb2.Classification:
    """Classify a request, with a span where it is recorded. Raises SageError as ``classify_message`` does."""
    if tracer is None or not is_sampled(message.traceparent):
        return classify_message(classifier, message, pools)
    began = time.perf_counter()
    error = ""
    found: request_pb2.Classification | None = None
    try:
        found = classify_message(classifier, message, pools)
    except SageError as failure:
        error = failure.code
        raise
    finally:
        _record(tracer, message, found, time.perf_counter() - began, error)
    return found


def _record(
    tracer: Tracer,
    message: request_pb2.InferenceRequest,
    found: request_pb2.Classification | None,
    seconds: float,
    error: str,
) -> None:
    from opentelemetry.trace import SpanKind

    tenant = tenant_from_wire(message.tenant)
    attributes = request_attributes(message.request_id, message.correlation_id, tenant, message.endpoint)
    attributes |= {"messaging.system": "nats", "messaging.destination.name": subjects.CLASSIFY}
    if found is not None:
        attributes |= {
            "gen_ai.request.model": found.model,
            "gen_ai.request.stream": found.streaming,
            "sage.pool": found.pool,
            "sage.class": request_pb2.ServiceClass.Name(found.service_class).removeprefix("SERVICE_CLASS_").lower(),
            "sage.estimated_input_tokens": found.input_tokens,
            "sage.estimated_output_tokens": found.output_tokens,
        }
    tracer.record("classify", message.traceparent, seconds, SpanKind.CONSUMER, attributes, error)
