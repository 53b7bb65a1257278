"""Protobuf ↔ domain round trips."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.inference.v1 import engine_pb2, frame_pb2, request_pb2
from sage_common.errors import ErrorKind, InternalError, InvalidRequestError, error_class
from sage_control_plane.request import engine_state, request
from sage_control_plane.request.cached_blocks import CachedBlocks
from sage_control_plane.request.engine_state import (
    EngineLoad,
    EnginePhase,
    EngineSpec,
    EngineState,
    ModelCard,
    RunningRequest,
)
from sage_control_plane.request.request import (
    Attempt,
    Classification,
    Endpoint,
    Hints,
    Priority,
    RequestKind,
    ServiceClass,
    ServiceLevel,
)
from sage_mesh.engine import DeliveredTokens
from sage_mesh.inference_request import DEFAULT_TENANT, InferenceRequest
from sage_mesh.wire.caches import cached_blocks_from_wire, cached_blocks_to_wire
from sage_mesh.wire.engines import state_from_wire, state_to_wire
from sage_mesh.wire.errors import error_from_wire, error_to_wire
from sage_mesh.wire.requests import (
    classification_from_wire,
    classification_to_wire,
    engine_request_from_wire,
    hints_from_wire,
    hints_to_wire,
    inference_request_from_wire,
    inference_request_to_wire,
    set_delivered_tokens,
)

uint32 = st.integers(0, 2**32 - 1)
names = st.text(max_size=20)
levels = st.builds(request.ServiceLevel, uint32, uint32, uint32)
classifications = st.builds(
    Classification,
    kind=st.sampled_from(RequestKind),
    pool=names,
    model=names,
    service_class=st.sampled_from(ServiceClass),
    priority=st.sampled_from(Priority),
    slo=levels,
    input_tokens=uint32,
    output_tokens=uint32,
    prefix_blocks=st.lists(st.integers(0, 2**64 - 1), max_size=4).map(tuple),
    streaming=st.booleans(),
    sheddable=st.booleans(),
    items=uint32,
    reasons=st.lists(names, max_size=3).map(tuple),
    resumable=st.booleans(),
    most_output_tokens=uint32,
    session=st.integers(0, 2**64 - 1),
)
CHAT = Classification(
    RequestKind.LLM_CHAT, "main", "m", ServiceClass.INTERACTIVE, Priority.NORMAL, ServiceLevel(), 1, 1
)


blocks = st.lists(st.integers(0, 2**64 - 1), max_size=4).map(tuple)


@given(st.builds(CachedBlocks, names, st.integers(0, 2**64 - 1), st.integers(1, 2**63), st.booleans(), blocks, blocks))
def test_accounts_of_caches_survive_the_wire(value: CachedBlocks) -> None:
    assert cached_blocks_from_wire(cached_blocks_to_wire(value)) == value


@given(classifications)
def test_classifications_survive_the_wire(value: Classification) -> None:
    assert classification_from_wire(classification_to_wire(value)) == value


def test_no_field_of_a_classification_is_left_out() -> None:
    given = {f.name for f in fields(Classification) if f.init}
    assert given == set(request_pb2.Classification.DESCRIPTOR.fields_by_name)


@given(
    st.builds(
        Hints,
        st.none() | st.sampled_from(Priority),
        st.none() | st.sampled_from(ServiceClass),
        uint32,
        uint32,
        uint32,
    )
)
def test_hints_survive_the_wire(value: Hints) -> None:
    assert hints_from_wire(hints_to_wire(value)) == value


def test_an_engines_state_survives_the_wire() -> None:
    card = ModelCard("m", frozenset({RequestKind.EMBEDDING}), ("a",), 512, 384, "sage", "about")
    told = engine_state.CapacitySource.TOLD
    spec = EngineSpec("e", "openai", (card,), "pool", 7, 9, "http://x", (("zone", "a"),), told)
    running = RunningRequest("r", Attempt(1, 2**40), True, 5, "ann", "her id")
    load = EngineLoad(4, 3, 0.5, 0.25, 0.125, 0.0625, 1.5)
    state = EngineState(spec, EnginePhase.DRAINING, "why", "executor", (running,), load, 2.5)
    assert state_from_wire(state_to_wire(state, with_callers=True), "executor") == state
    without = replace(state, running=(replace(running, tenant=None, correlation_id=None),))
    assert state_from_wire(state_to_wire(state), "executor") == without


def test_errors_of_every_kind_survive_the_wire() -> None:
    for kind in ErrorKind:
        error = error_class(kind)(
            "what", code="c", param="p", retry_after_seconds=1.5, retryable=True, upstream_status=418
        )
        back = error_from_wire(error_to_wire(error))
        assert type(back) is type(error)
        assert (back.message, back.code, back.param, back.retry_after_seconds) == ("what", "c", "p", 1.5)
        assert (back.retryable, back.upstream_status) == (True, 418)


def test_an_error_of_an_unknown_kind_is_internal() -> None:
    assert isinstance(error_from_wire(frame_pb2.ErrorDetail(message="x")), InternalError)


def test_enumerations_have_the_wires_numbers() -> None:
    for enum, prefix, pb in (
        (request.RequestKind, "REQUEST_KIND_", request_pb2.RequestKind),
        (request.ServiceClass, "SERVICE_CLASS_", request_pb2.ServiceClass),
        (request.Priority, "PRIORITY_", request_pb2.Priority),
        (request.Endpoint, "ENDPOINT_", request_pb2.Endpoint),
        (engine_state.EnginePhase, "ENGINE_PHASE_", engine_pb2.EnginePhase),
        (engine_state.CapacitySource, "CAPACITY_SOURCE_", engine_pb2.CapacitySource),
    ):
        assert {prefix + member.name: member.value for member in enum if member} == {
            name: number for name, number in pb.items() if number
        }


def test_an_engine_that_tells_no_load_does_not_seem_idle() -> None:
    state = EngineState(EngineSpec("e", "openai", ()), load=None)
    assert state_from_wire(state_to_wire(state), "executor").load is None


@given(st.none() | st.builds(DeliveredTokens, st.lists(uint32, min_size=1, max_size=4).map(tuple), uint32))
def test_delivered_tokens_survive_the_wire(delivered: DeliveredTokens | None) -> None:
    dispatch = frame_pb2.Dispatch()
    dispatch.request.endpoint = 1  # type: ignore[assignment]
    dispatch.classification.CopyFrom(classification_to_wire(CHAT))
    set_delivered_tokens(dispatch.request, DeliveredTokens((9,), 9))
    set_delivered_tokens(dispatch.request, delivered)
    assert engine_request_from_wire(dispatch).delivered == delivered


@given(
    st.builds(
        InferenceRequest,
        correlation_id=st.none()
        | st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=128),
        endpoint=st.sampled_from(Endpoint),
        body=st.binary(max_size=9),
        tenant=st.none() | st.text(min_size=1, max_size=9),
        hints=st.builds(Hints, slo_ttft_ms=uint32),
        timeout_seconds=st.integers(1, 2**31).map(lambda ms: ms / 1000),
        traceparent=names,
    )
)
def test_a_request_survives_the_wire_and_is_the_default_tenants_where_it_names_none(request: InferenceRequest) -> None:
    message = inference_request_to_wire(request, "", "reply.subject")
    assert (message.request_id, message.submission, message.reply_subject) == ("", 1, "reply.subject")
    back = inference_request_from_wire(message, timeout_seconds=600.0)
    assert back == replace(request, tenant=request.tenant or DEFAULT_TENANT)


def test_what_a_caller_of_grpc_leaves_out_has_its_default() -> None:
    message = request_pb2.InferenceRequest(endpoint=2)  # type: ignore[arg-type]
    made = inference_request_from_wire(message, timeout_seconds=7.0)
    assert made == InferenceRequest(None, Endpoint.COMPLETIONS, b"", None, Hints(), 7.0)
    with pytest.raises(InvalidRequestError, match="endpoint 0 is not one of 1"):
        inference_request_from_wire(request_pb2.InferenceRequest(), timeout_seconds=7.0)


def test_the_request_id_of_a_caller_of_grpc_is_its_own_and_no_key_of_the_mesh() -> None:
    message = request_pb2.InferenceRequest(endpoint=2, request_id="mine")  # type: ignore[arg-type]
    request = inference_request_from_wire(message, timeout_seconds=7.0)
    assert request.correlation_id == "mine"
    sent = inference_request_to_wire(request, "req-0", "reply.subject")
    assert (sent.request_id, sent.correlation_id) == ("req-0", "mine")


@pytest.mark.parametrize("unfit", ["x" * 129, "caf\u00e9", "two\nlines", "nul\0"])
@pytest.mark.parametrize("field", ["request_id", "correlation_id"])
def test_an_unfit_id_of_a_caller_of_grpc_is_refused(field: str, unfit: str) -> None:
    message = request_pb2.InferenceRequest(endpoint=2, **{field: unfit})  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="'request_id' must be at most 128 printable ASCII") as failure:
        inference_request_from_wire(message, timeout_seconds=7.0)
    assert failure.value.param == "request_id"
