"""Rendered requests are as long as their arrivals say, and mean the same to the classifier and to the engine."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from fixtures.arrivals import burst

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig, SimulatedModels
from sage_benchmark.simulated_engine.simulated_request import RequestReader
from sage_benchmark.workload.mixed_load import LoadPlan, SharedPrefixes, equal_tenants, generate
from sage_benchmark.workload.rendered_request import ENDPOINTS, prefix_blocks, render
from sage_client.headers import hints_from_headers
from sage_control_plane.request.catalog import ModelCatalog
from sage_control_plane.request.classification import RequestClassifier
from sage_control_plane.request.engine_state import EngineSpec, EngineState, ModelCard
from sage_control_plane.request.features import request_features
from sage_control_plane.request.request import RequestKind

MODELS = SimulatedModels()
LLM = ModelCard(MODELS.llm, frozenset({RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE}))
EMBEDDER = ModelCard(MODELS.embedding, frozenset({RequestKind.EMBEDDING}))
CATALOG = ModelCatalog([EngineState(EngineSpec("e", "openai", (LLM, EMBEDDER)))])
ARRIVALS = generate(
    LoadPlan(20.0, 1, equal_tenants(2, 1.0), prefixes=SharedPrefixes(groups=2)), EngineModelConfig(), seed=4
)


def test_the_classifier_sees_the_stated_kind_class_and_tokens() -> None:
    classifier = RequestClassifier(request_features)
    for arrival in ARRIVALS:
        sent = render(arrival, MODELS, "t")
        hints = hints_from_headers(dict(sent.headers))
        found = classifier.classify(ENDPOINTS[arrival.kind], sent.body, hints, arrival.tenant, CATALOG)
        assert (found.kind, found.service_class, found.streaming, found.items) == (
            arrival.kind,
            arrival.service_class,
            arrival.streaming,
            arrival.items,
        )
        assert found.input_tokens == pytest.approx(arrival.input_tokens, abs=2 * arrival.items, rel=0.02)


def test_the_engine_reads_the_name_and_the_length_that_was_drawn() -> None:
    reader = RequestReader(request_features, 32_768)
    for arrival in ARRIVALS:
        sent = render(arrival, MODELS, "t")
        read = reader.read(ENDPOINTS[arrival.kind], dict(sent.headers), sent.body)
        if arrival.output_tokens:
            assert (read.name, read.until) == (sent.name, arrival.output_tokens)
        else:
            assert len(read.texts) == arrival.items


def test_requests_of_a_group_share_its_blocks_and_others_share_none() -> None:
    def blocks(index: int, group: str) -> list[int]:
        arrival = replace(burst(1)[0], index=index, prefix_group=group, prefix_tokens=512, input_tokens=700)
        body = orjson.loads(render(arrival, MODELS, "t").body)
        return request_features([part for message in body["messages"] for part in message.values()])[1]

    one, two, other = blocks(1, "a"), blocks(2, "a"), blocks(3, "b")
    shared = len([1 for x, y in zip(one, two, strict=False) if x == y])
    assert shared >= 8
    assert set(one[shared:]).isdisjoint(two)
    assert set(one).isdisjoint(other)
    grouped = replace(burst(1)[0], prefix_group="a", prefix_tokens=512)
    assert len(prefix_blocks(grouped, 64)) == 8
    assert prefix_blocks(burst(1)[0], 64) == ()


def test_a_model_that_reads_no_markers_is_given_the_length_as_its_limit() -> None:
    models = SimulatedModels(llm="real", embedding="", reads_markers=False)
    for arrival in ARRIVALS:
        if arrival.kind is not RequestKind.EMBEDDING:
            body = orjson.loads(render(arrival, models, "t").body)
            assert (body["model"], body["max_tokens"], body["ignore_eos"]) == ("real", arrival.output_tokens, True)
