"""Ages become times of this clock, and decisions become frames."""

from __future__ import annotations

import pytest

from sage.inference.v1 import engine_pb2, frame_pb2, request_pb2
from sage_common.errors import ContendedError
from sage_control_plane.request.request import (
    Attempt,
    Classification,
    Priority,
    RequestKind,
    ServiceClass,
    ServiceLevel,
)
from sage_control_plane.tracking.decisions import Abort, Dispatch, Interrupt, Refuse
from sage_mesh.wire.requests import classification_to_wire
from sage_scheduler.translation import (
    abort_to_wire,
    dispatch_to_wire,
    hedge_to_wire,
    interrupt_to_wire,
    pending_from_wire,
    refusal_to_wire,
    up_to_from_wire,
)

CLASSIFICATION = Classification(
    RequestKind.LLM_CHAT, "main", "m", ServiceClass.BULK, Priority.LOW, ServiceLevel(500, 50, 0), 7, 9
)


def item(**changes: object) -> request_pb2.ClassifiedRequest:
    values = {"request_id": "r", "body": b"{}", "tenant": "t", "submission": 2, "age_ms": 1500, "timeout_ms": 10_000}
    return request_pb2.ClassifiedRequest(
        request=request_pb2.InferenceRequest(**{**values, **changes}),  # type: ignore[arg-type]
        classification=classification_to_wire(CLASSIFICATION),
    )


def test_ages_become_times_of_this_clock() -> None:
    pending = pending_from_wire(item(), now=100.0)
    assert (pending.arrived_at, pending.expires_at) == (98.5, 108.5)
    assert (pending.request_id, pending.tenant, pending.submission, pending.body_bytes) == ("r", "t", 2, 2)
    assert pending.classification == CLASSIFICATION


def test_what_goes_on_is_not_shed_any_more() -> None:
    shed = item()
    shed.classification.sheddable = True
    assert pending_from_wire(shed, 0.0).classification.sheddable
    shed.request.interrupted = True
    pending = pending_from_wire(shed, 0.0)
    assert (pending.interrupted, pending.delivered_tokens, pending.classification.sheddable) == (True, 0, False)
    shed.request.interrupted, shed.request.delivered_tokens = False, 7
    pending = pending_from_wire(shed, 0.0)
    assert (pending.interrupted, pending.delivered_tokens, pending.classification.sheddable) == (False, 7, False)


def test_an_interruption_is_asked_of_the_edge_as_a_notice() -> None:
    frame = interrupt_to_wire(Interrupt("r", Attempt(2, 9), "e", 3, "because"))
    assert (frame.held, frame.interrupt, frame.head.engine_id, frame.head.tries) == (True, True, "e", 3)
    assert (frame.attempt.submission, frame.attempt.dispatch) == (2, 9)


def test_engines_to_avoid_are_the_edges_to_say() -> None:
    assert pending_from_wire(item(avoided_engines=["a", "b"]), 0.0).avoided == {"a", "b"}


def test_a_request_without_a_time_out_or_tenant_gets_the_defaults() -> None:
    pending = pending_from_wire(item(timeout_ms=0, tenant="", age_ms=0), now=0.0)
    assert (pending.tenant, pending.expires_at) == ("default", 600.0)


def test_a_kind_that_this_version_does_not_know_is_an_error() -> None:
    message = item()
    message.classification.kind = 99  # type: ignore[assignment]
    with pytest.raises(ValueError, match="99"):
        pending_from_wire(message, 0.0)


def test_a_dispatch_carries_the_request_as_it_came() -> None:
    payload = item(body=b'{"x": 1}')
    decision = Dispatch(pending_from_wire(payload, 0.0), "e", Attempt(2, 77), 3, 2**40)
    message = frame_pb2.Dispatch.FromString(dispatch_to_wire(decision, payload))
    assert message.request == payload.request
    assert message.classification == payload.classification
    assert (message.engine_id, message.tries, message.queue_us) == ("e", 3, 2**32 - 1)
    assert message.attempt == frame_pb2.Attempt(submission=2, dispatch=77)


def test_a_refusal_is_the_first_and_last_frame_of_its_attempt() -> None:
    error = ContendedError("full", retry_after_seconds=3)
    frame = refusal_to_wire(Refuse("r", Attempt(1, 5), error))
    assert (frame.seq, frame.end.error.retry_after_ms, frame.end.error.code) == (0, 3000, "overloaded")


def test_an_abort_names_the_last_attempt_that_it_means() -> None:
    cancellation = abort_to_wire(Abort("r", Attempt(1, 5), "why"))
    assert up_to_from_wire(cancellation) == Attempt(1, 5)
    assert up_to_from_wire(engine_pb2.Cancellation(request_id="r")) is None


def test_a_hedge_says_beside_which_attempt_it_runs_to_its_engine_and_to_the_edge() -> None:
    decision = Dispatch(pending_from_wire(item(), 0.0), "e", Attempt(2, 78), 2, 0, hedge_of=77)
    assert frame_pb2.Dispatch.FromString(dispatch_to_wire(decision, item())).beside == 77
    frame = hedge_to_wire(decision)
    assert (frame.request_id, frame.held, frame.beside, frame.attempt.dispatch) == ("r", True, 77, 78)
    assert (frame.head.engine_id, frame.head.tries) == ("e", 2)


def test_an_abort_names_the_engine_and_whether_it_spares_what_has_begun() -> None:
    message = abort_to_wire(Abort("r", Attempt(1, 7), "another attempt was faster", "e", unbegun=True))
    assert (message.engine_id, message.unbegun, up_to_from_wire(message)) == ("e", True, Attempt(1, 7))
