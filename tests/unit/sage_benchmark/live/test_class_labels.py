"""Each front is told a request's class in its own way, and nothing of the request is lost."""

from __future__ import annotations

import json

import pytest

from sage_benchmark.live.class_labels import LITELLM_LABELS, NO_LABELS, SAGE_LABELS, SMG_LABELS
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.rendered_request import RenderedRequest, render
from sage_control_plane.request.request import RequestKind, ServiceClass

KINDS = {
    ServiceClass.INTERACTIVE: RequestKind.LLM_CHAT,
    ServiceClass.DEFAULT: RequestKind.LLM_GENERATE,
    ServiceClass.BULK: RequestKind.LLM_GENERATE,
    ServiceClass.EMBEDDING: RequestKind.EMBEDDING,
}


def rendered(service_class: ServiceClass) -> tuple[Arrival, RenderedRequest]:
    kind = KINDS[service_class]
    tokens = 0 if kind is RequestKind.EMBEDDING else 7
    arrival = Arrival(0, 0.0, kind, "a", 30, tokens, service_class, tokens, streaming=tokens > 0)
    return arrival, render(arrival, SimulatedModels(), "t")


@pytest.mark.parametrize(
    ("service_class", "priority"),
    [
        (ServiceClass.INTERACTIVE, "interactive"),
        (ServiceClass.DEFAULT, "default"),
        (ServiceClass.EMBEDDING, "default"),
        (ServiceClass.BULK, "bulk"),
    ],
)
def test_smg_is_told_by_its_header(service_class: ServiceClass, priority: str) -> None:
    arrival, request = rendered(service_class)
    labelled = SMG_LABELS.label(arrival, request)
    assert dict(labelled.headers) == dict(request.headers) | {"x-smg-priority": priority}
    assert (labelled.path, labelled.body) == (request.path, request.body)


@pytest.mark.parametrize(
    ("service_class", "priority"), [(ServiceClass.INTERACTIVE, 0), (ServiceClass.DEFAULT, 1), (ServiceClass.BULK, 2)]
)
def test_litellm_is_told_by_a_field_of_the_body(service_class: ServiceClass, priority: int) -> None:
    arrival, request = rendered(service_class)
    labelled = LITELLM_LABELS.label(arrival, request)
    assert json.loads(labelled.body) == json.loads(request.body) | {"priority": priority}
    assert labelled.headers == request.headers


def test_litellm_gets_embeddings_as_they_are() -> None:
    arrival, request = rendered(ServiceClass.EMBEDDING)
    assert LITELLM_LABELS.label(arrival, request) == request


def test_sage_reads_what_the_requests_have_anyway() -> None:
    arrival, request = rendered(ServiceClass.BULK)
    assert SAGE_LABELS.label(arrival, request) == NO_LABELS.label(arrival, request) == request
    assert ("x-request-type", "bulk") in request.headers
