"""Protobuf ↔ the control plane's requests and decisions."""

from __future__ import annotations

from dataclasses import replace

from sage.inference.v1 import engine_pb2, frame_pb2, request_pb2
from sage_control_plane.request.request import Attempt, PendingRequest
from sage_control_plane.tracking.decisions import Abort, Dispatch, Interrupt, Refuse
from sage_mesh.wire.frames import error_frame
from sage_mesh.wire.requests import (
    attempt_from_wire,
    attempt_to_wire,
    classification_from_wire,
    routed_from_wire,
    tenant_from_wire,
)

# Time-out of requests without one; the gateway always sets one.
DEFAULT_TIMEOUT_MS = 600_000


def pending_from_wire(item: request_pb2.ClassifiedRequest, now: float) -> PendingRequest:
    """Translate a request that was received at ``now``. Raises ValueError on an unknown value of an enumeration."""
    request = item.request
    arrived_at = now - request.age_ms / 1000
    classification = classification_from_wire(item.classification)
    if request.interrupted or request.delivered_tokens:
        # Its client may have a part of the answer.
        classification = replace(classification, sheddable=False)
    return PendingRequest(
        request.request_id,
        tenant_from_wire(request.tenant),
        classification,
        arrived_at,
        arrived_at + (request.timeout_ms or DEFAULT_TIMEOUT_MS) / 1000,
        request.submission,
        len(request.body),
        frozenset(request.avoided_engines),
        request.interrupted,
        request.delivered_tokens,
        request.correlation_id or None,
        routed_from_wire(request.routed) if request.HasField("routed") else None,
        request.admitted,
    )


def dispatch_to_wire(decision: Dispatch, payload: request_pb2.ClassifiedRequest) -> bytes:
    """Translate a dispatch to a serialised ``Dispatch``; the request is forwarded unchanged.

    A ``ClassifiedRequest`` has the fields that it shares with a ``Dispatch`` under the same numbers, and messages that
    are joined as bytes are merged: neither the body nor the classification is copied into another message first.
    """
    added = frame_pb2.Dispatch(
        engine_id=decision.engine_id,
        attempt=attempt_to_wire(decision.attempt),
        tries=decision.tries,
        queue_us=min(decision.queue_us, 0xFFFFFFFF),
        beside=decision.hedge_of,
    )
    return payload.SerializeToString() + added.SerializeToString()


def hedge_to_wire(decision: Dispatch) -> frame_pb2.Frame:
    """Translate a hedge to the frame that announces it to the edge."""
    return _held_frame(decision, beside=decision.hedge_of)


def interrupt_to_wire(decision: Interrupt) -> frame_pb2.Frame:
    """Translate an interruption to the frame that asks the edge for it."""
    return _held_frame(decision, interrupt=True)


def _held_frame(
    decision: Dispatch | Interrupt, *, beside: int | None = None, interrupt: bool = False
) -> frame_pb2.Frame:
    """Return the scheduler's word to an edge about an attempt that an engine has."""
    return frame_pb2.Frame(
        request_id=decision.request_id,
        attempt=attempt_to_wire(decision.attempt),
        head=frame_pb2.FrameHead(engine_id=decision.engine_id, tries=decision.tries),
        held=True,
        beside=beside,
        interrupt=interrupt,
    )


def refusal_to_wire(decision: Refuse) -> frame_pb2.Frame:
    """Translate a refusal to the frame that ends the request."""
    return error_frame(decision.request_id, decision.attempt, decision.error)


def abort_to_wire(decision: Abort) -> engine_pb2.Cancellation:
    """Translate an abort."""
    return engine_pb2.Cancellation(
        request_id=decision.request_id,
        up_to=attempt_to_wire(decision.up_to),
        reason=decision.reason,
        engine_id=decision.engine_id,
        unbegun=decision.unbegun,
    )


def up_to_from_wire(cancellation: engine_pb2.Cancellation) -> Attempt | None:
    """Return the last attempt that a cancellation covers; None for all."""
    return attempt_from_wire(cancellation.up_to) if cancellation.HasField("up_to") else None
