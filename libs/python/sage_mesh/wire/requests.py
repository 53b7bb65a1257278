"""A request and its classification ↔ protobuf."""

from __future__ import annotations

from typing import Final

from sage.inference.v1 import frame_pb2, request_pb2
from sage_common.errors import InvalidRequestError
from sage_common.trace_context import current_traceparent, trace_fields
from sage_control_plane.request.request import (
    NO_HINTS,
    Attempt,
    Classification,
    Endpoint,
    FailedModel,
    Hints,
    Priority,
    RequestKind,
    RoutedModel,
    ServiceClass,
    ServiceLevel,
)
from sage_mesh.engine import DeliveredTokens, EngineRequest
from sage_mesh.inference_request import DEFAULT_TENANT, InferenceRequest, check_correlation_id
from sage_mesh.wire.members import Members

_ENDPOINTS: Final = Members(Endpoint)
_KINDS: Final = Members(RequestKind)
_CLASSES: Final = Members(ServiceClass)
_PRIORITIES: Final = Members(Priority)


def attempt_to_wire(attempt: Attempt) -> frame_pb2.Attempt:
    """Translate an attempt."""
    return frame_pb2.Attempt(submission=attempt.submission, dispatch=attempt.dispatch)


def attempt_from_wire(message: frame_pb2.Attempt) -> Attempt:
    """Translate an attempt."""
    return Attempt(message.submission, message.dispatch)


def hints_from_wire(message: request_pb2.Hints) -> Hints:
    """Translate hints; unspecified becomes None."""
    if not message.ByteSize():
        return NO_HINTS
    return Hints(
        priority=_PRIORITIES[message.priority] if message.priority else None,
        service_class=_CLASSES[message.service_class] if message.service_class else None,
        slo_ttft_ms=message.slo_ttft_ms,
        slo_tpot_ms=message.slo_tpot_ms,
        slo_deadline_ms=message.slo_deadline_ms,
    )


def hints_to_wire(hints: Hints) -> request_pb2.Hints:
    """Translate hints."""
    return request_pb2.Hints(
        priority=hints.priority or 0,  # type: ignore[arg-type]
        service_class=hints.service_class or 0,  # type: ignore[arg-type]
        slo_ttft_ms=hints.slo_ttft_ms,
        slo_tpot_ms=hints.slo_tpot_ms,
        slo_deadline_ms=hints.slo_deadline_ms,
    )


def classification_to_wire(value: Classification) -> request_pb2.Classification:
    """Translate a classification."""
    return request_pb2.Classification(
        kind=int(value.kind),  # type: ignore[arg-type]
        pool=value.pool,
        model=value.model,
        service_class=int(value.service_class),  # type: ignore[arg-type]
        priority=int(value.priority),  # type: ignore[arg-type]
        slo=request_pb2.ServiceLevel(
            ttft_ms=value.slo.ttft_ms, tpot_ms=value.slo.tpot_ms, end_to_end_ms=value.slo.end_to_end_ms
        ),
        input_tokens=value.input_tokens,
        output_tokens=value.output_tokens,
        prefix_blocks=value.prefix_blocks,
        streaming=value.streaming,
        sheddable=value.sheddable,
        items=value.items,
        reasons=value.reasons,
        resumable=value.resumable,
        most_output_tokens=value.most_output_tokens,
        session=value.session,
    )


def classification_from_wire(message: request_pb2.Classification) -> Classification:
    """Translate a classification. Raises ValueError on an enumeration number that this version does not know."""
    slo = message.slo
    return Classification(
        kind=_KINDS[message.kind],
        pool=message.pool,
        model=message.model,
        service_class=_CLASSES[message.service_class],
        priority=_PRIORITIES[message.priority],
        slo=ServiceLevel(slo.ttft_ms, slo.tpot_ms, slo.end_to_end_ms),
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        prefix_blocks=tuple(message.prefix_blocks),
        streaming=message.streaming,
        sheddable=message.sheddable,
        items=message.items,
        reasons=tuple(message.reasons),
        resumable=message.resumable,
        most_output_tokens=message.most_output_tokens,
        session=message.session,
    )


def routed_to_wire(routed: RoutedModel) -> request_pb2.RoutedModel:
    """Translate how an edge came to a model."""
    failed = [
        request_pb2.FailedModel(model=each.model, reason=each.reason, error_code=each.code, error_message=each.message)
        for each in routed.failed
    ]
    return request_pb2.RoutedModel(name=routed.name, path=routed.path, failed=failed)


def routed_from_wire(message: request_pb2.RoutedModel) -> RoutedModel:
    """Translate how an edge came to a model."""
    failed = tuple(FailedModel(each.model, each.reason, each.error_code, each.error_message) for each in message.failed)
    return RoutedModel(message.name, tuple(message.path), failed)


def tenant_from_wire(tenant: str) -> str:
    """Return the tenant; the default one where none is named."""
    return tenant or DEFAULT_TENANT


def id_fields(message: request_pb2.InferenceRequest) -> dict[str, str | None]:
    """Return what a log line about a request names it by: the mesh's key, the caller's id and the trace, if any."""
    ids: dict[str, str | None] = {"request_id": message.request_id, "correlation_id": message.correlation_id or None}
    return {**ids, **trace_fields(message.traceparent)} if message.traceparent else ids


def inference_request_to_wire(
    request: InferenceRequest, request_id: str, reply_subject: str
) -> request_pb2.InferenceRequest:
    """Translate a request into its first submission.

    Args:
        request_id: the mesh's key of it, by the edge that accepts it.
        reply_subject: where its frames go.
    """
    return request_pb2.InferenceRequest(
        request_id=request_id,
        correlation_id=request.correlation_id or "",
        endpoint=int(request.endpoint),  # type: ignore[arg-type]
        body=request.body,
        tenant=request.tenant or DEFAULT_TENANT,
        reply_subject=reply_subject,
        submission=1,
        hints=None if request.hints is NO_HINTS else hints_to_wire(request.hints),
        timeout_ms=max(1, round(request.timeout_seconds * 1000)),
        traceparent=request.traceparent,
        routed=None if request.routed is None else routed_to_wire(request.routed),
        body_object=request.body_object,
    )


def inference_request_from_wire(message: request_pb2.InferenceRequest, *, timeout_seconds: float) -> InferenceRequest:
    """Translate a request as a caller of a gRPC API states it; its request id is the caller's, so no key of the mesh.

    Args:
        timeout_seconds: taken where the caller gave none.

    Raises:
        InvalidRequestError: the endpoint is none of those known, or the caller's id is unfit.
    """
    try:
        endpoint = Endpoint(message.endpoint)
    except ValueError:
        known = ", ".join(f"{e.value} ({e.name.lower()})" for e in Endpoint)
        raise InvalidRequestError(
            f"endpoint {message.endpoint} is not one of {known}", code="unknown_endpoint", param="endpoint"
        ) from None
    return InferenceRequest(
        correlation_id=check_correlation_id(message.correlation_id or message.request_id),
        endpoint=endpoint,
        body=message.body,
        tenant=message.tenant or None,
        hints=hints_from_wire(message.hints),
        timeout_seconds=message.timeout_ms / 1000 or timeout_seconds,
        traceparent=message.traceparent or current_traceparent(),
    )


def set_delivered_tokens(message: request_pb2.InferenceRequest, delivered: DeliveredTokens | None) -> None:
    """Set the tokens that the body of ``message`` asks to be continued; None where they are not known."""
    message.ClearField("told")
    if delivered is not None:
        message.told.ids.extend(delivered.ids)
        message.told.characters = delivered.characters


def engine_request_from_wire(message: frame_pb2.Dispatch, traceparent: str = "") -> EngineRequest:
    """Translate a dispatch into what its engine is given.

    Args:
        traceparent: of the attempt; empty for that of the request.

    Raises:
        ValueError: as ``classification_from_wire`` does.
    """
    request = message.request
    return EngineRequest(
        request_id=request.request_id,
        endpoint=_ENDPOINTS[request.endpoint],
        body=request.body,
        model=message.classification.model,
        tenant=tenant_from_wire(request.tenant),
        hints=hints_from_wire(request.hints),
        classification=classification_from_wire(message.classification),
        attempt=attempt_from_wire(message.attempt),
        traceparent=traceparent or request.traceparent,
        waited_seconds=request.age_ms / 1e3 + message.queue_us / 1e6,
        delivered=_delivered_tokens(request),
        in_one_piece=request.in_one_piece,
    )


def _delivered_tokens(message: request_pb2.InferenceRequest) -> DeliveredTokens | None:
    if not message.HasField("told"):
        return None
    return DeliveredTokens(tuple(message.told.ids), message.told.characters)
