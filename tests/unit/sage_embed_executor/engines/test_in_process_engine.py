"""The engine with the real model, in process."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from fixtures.eventually import eventually
from fixtures.recorded_reply import RecordedReply
from prometheus_client import CollectorRegistry

from sage_common.clock import MonotonicClock
from sage_common.errors import ConfigurationError, InternalError, InvalidRequestError, UnavailableError
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec
from sage_control_plane.request.request import (
    Classification,
    Endpoint,
    Priority,
    RequestKind,
    ServiceClass,
    ServiceLevel,
)
from sage_embed_executor.batching.length_aware_queue import BatchLimits
from sage_embed_executor.engines.in_process_engine import LoadModel
from sage_embed_executor.engines.model_loader import LoadedModel
from sage_embed_executor.engines.sentence_transformers_engine import SentenceTransformersEngine, new_card, normalised
from sage_embed_executor.metrics import EmbedMetrics
from sage_mesh.engine import EngineRequest
from sage_mesh.reply import Media, TokenUsage


def engine_of(load: LoadModel, **measuring: Any) -> SentenceTransformersEngine:
    spec = EngineSpec(
        "minilm-test", "sentence-transformers", (new_card("all-MiniLM-L6-v2", ("minilm",)),), max_concurrency=64
    )
    metrics = EmbedMetrics(CollectorRegistry())
    return SentenceTransformersEngine(spec, load, 2, 1_000_000, MonotonicClock(), metrics, **measuring)


@pytest.fixture
async def engine(minilm: LoadedModel) -> AsyncIterator[SentenceTransformersEngine]:
    one = engine_of(lambda: minilm)
    await one.start()
    yield one
    await one.stop()


async def run(engine: SentenceTransformersEngine, **body: Any) -> RecordedReply:
    answer = RecordedReply()
    job = EngineRequest("r", Endpoint.EMBEDDINGS, orjson.dumps(body), "all-MiniLM-L6-v2")
    await asyncio.wait_for(engine.run(job, answer), 60)
    return answer


async def test_a_ready_engine_tells_the_models_limits(engine: SentenceTransformersEngine) -> None:
    card = engine.spec.models[0]
    assert (engine.phase, engine.reason) == (EnginePhase.READY, "")
    assert (card.name, card.aliases, card.dimensions, card.max_context_tokens) == (
        "all-MiniLM-L6-v2",
        ("minilm",),
        384,
        256,
    )


async def test_an_answer_has_its_shape_and_the_tokens_that_the_model_saw(engine: SentenceTransformersEngine) -> None:
    answer = await run(engine, input=["hello world", "hello world", "hello"])
    assert (answer.media, answer.model, answer.shape) == (Media.VECTORS_FLOAT, "all-MiniLM-L6-v2", (3, 384))
    assert answer.used == TokenUsage(prompt_tokens=4 + 4 + 3)
    assert (answer.vectors[0] == answer.vectors[1]).all()
    np.testing.assert_allclose(np.linalg.norm(answer.vectors, axis=1), 1, atol=1e-5)


async def test_like_texts_have_near_vectors(engine: SentenceTransformersEngine) -> None:
    answer = await run(engine, input=["How do I reset my password?", "I forgot my login secret", "Bananas are yellow"])
    near, far = answer.vectors[0] @ answer.vectors[1], answer.vectors[0] @ answer.vectors[2]
    assert near > 0.4
    assert far < 0.2


async def test_token_ids_give_the_vector_of_their_text(engine: SentenceTransformersEngine) -> None:
    text = await run(engine, input="hello world")
    for given in ([7592, 2088], [[7592, 2088]], [101, 7592, 2088, 102]):
        ids = await run(engine, input=given)
        assert (ids.vectors == text.vectors).all()
        assert ids.used == text.used


async def test_base64_is_only_another_form_of_the_same_bytes(engine: SentenceTransformersEngine) -> None:
    as_float = await run(engine, input="hello world", encoding_format="float")
    as_base64 = await run(engine, input="hello world", encoding_format="base64")
    assert as_base64.media is Media.VECTORS_BASE64
    assert as_base64.bytes_ == as_float.bytes_
    assert len(base64.b64encode(as_base64.bytes_)) == 2048


async def test_fewer_dimensions_are_the_first_ones_normalised_again(engine: SentenceTransformersEngine) -> None:
    whole = await run(engine, input=["hello world", "b"])
    short = await run(engine, input=["hello world", "b"], dimensions=64)
    assert short.shape == (2, 64)
    expected = whole.vectors[:, :64] / np.linalg.norm(whole.vectors[:, :64], axis=1, keepdims=True)
    np.testing.assert_allclose(short.vectors, expected, atol=1e-6)
    again = await run(engine, input=["hello world", "b"])
    assert (again.vectors == whole.vectors).all()


def test_a_zero_vector_stays_zero_when_it_is_normalised() -> None:
    assert normalised(np.array([[0, 0]], dtype=np.float32)).tolist() == [[0, 0]]


async def test_a_long_text_is_cut_and_billed_as_cut(engine: SentenceTransformersEngine) -> None:
    answer = await run(engine, input="word " * 2000)
    assert (answer.used.prompt_tokens, answer.used.truncated_inputs) == (256, 1)


async def test_many_texts_equal_the_same_texts_one_by_one(
    engine: SentenceTransformersEngine, minilm: LoadedModel
) -> None:
    texts = [f"text number {n} " + "with more words " * (n % 9) for n in range(40)]
    together = await run(engine, input=texts)
    other = engine_of(lambda: minilm)
    await other.start()
    alone = [await run(other, input=text) for text in texts]
    await other.stop()
    np.testing.assert_allclose(together.vectors, np.concatenate([a.vectors for a in alone]), rtol=0, atol=1e-5)
    assert together.used.prompt_tokens == sum(a.used.prompt_tokens for a in alone)


async def test_an_unknown_token_id_is_refused_before_anything_is_computed(engine: SentenceTransformersEngine) -> None:
    with pytest.raises(InvalidRequestError, match="ids 0 to 30521") as caught:
        await run(engine, input=[99999])
    assert (caught.value.code, caught.value.param) == ("invalid_token_id", "input")


@pytest.mark.parametrize(
    ("raised", "expected", "reason"),
    [
        (ConfigurationError("no weights; pip install some"), ConfigurationError, "no weights; pip install some"),
        (ValueError("odd"), InternalError, "the model could not be loaded: ValueError: odd"),
    ],
)
async def test_an_engine_that_cannot_load_is_unhealthy_and_says_why(
    raised: Exception, expected: type[Exception], reason: str
) -> None:
    def load() -> LoadedModel:
        raise raised

    engine = engine_of(load)
    assert engine.phase is EnginePhase.STARTING
    with pytest.raises(expected):
        await engine.start()
    assert (engine.phase, engine.reason) == (EnginePhase.UNHEALTHY, reason)
    with pytest.raises(UnavailableError, match="is unhealthy") as caught:
        await run(engine, input="a")
    assert caught.value.retryable
    await engine.stop()


async def test_a_stopped_engine_takes_nothing(minilm: LoadedModel) -> None:
    engine = engine_of(lambda: minilm)
    await engine.start()
    await engine.stop()
    assert engine.phase is EnginePhase.STOPPED
    with pytest.raises(UnavailableError, match="is stopped"):
        await run(engine, input="a")


async def test_an_answer_says_where_its_time_went(engine: SentenceTransformersEngine) -> None:
    fresh = (await run(engine, input="never seen before " * 200)).used.engine_time
    assert fresh.inference_us > 500
    assert fresh.tokenize_us > 0
    known = (await run(engine, input="never seen before " * 200)).used.engine_time
    assert (known.queue_us, known.inference_us) == (0, 0)


async def test_documents_are_ranked_by_their_similarity_to_the_query(engine: SentenceTransformersEngine) -> None:
    answer = RecordedReply()
    documents = ["Bananas are yellow.", {"text": "I forgot my login secret."}, "The weather is fine."]
    body = {"query": "How do I reset my password?", "documents": documents, "top_n": 2, "return_documents": True}
    job = EngineRequest("r", Endpoint.RERANK, orjson.dumps(body), "all-MiniLM-L6-v2")
    await asyncio.wait_for(engine.run(job, answer), 60)
    value = orjson.loads(bytes(answer.bytes_))
    assert answer.media is Media.JSON
    assert value["results"][0]["index"] == 1
    assert len(value["results"]) == 2
    assert value["results"][0]["document"] == {"text": "I forgot my login secret."}
    assert value["results"][0]["relevance_score"] > value["results"][1]["relevance_score"]
    assert value["usage"]["total_tokens"] == answer.used.prompt_tokens > 10
    vectors = (await run(engine, input=[body["query"], "I forgot my login secret."])).vectors
    assert value["results"][0]["relevance_score"] == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-6)


async def test_a_short_request_is_answered_while_a_bulk_request_is_computed(
    engine: SentenceTransformersEngine,
) -> None:
    bulk = Classification(
        RequestKind.EMBEDDING, "main", "m", ServiceClass.BULK, Priority.NORMAL, ServiceLevel(), 60_000, 0
    )
    texts = [f"bulk text {n} " + "and more of it " * (n % 13) for n in range(250)]
    body = orjson.dumps({"input": texts})
    job = EngineRequest("bulk", Endpoint.EMBEDDINGS, body, "all-MiniLM-L6-v2", classification=bulk)
    large = RecordedReply()
    running = asyncio.create_task(engine.run(job, large))
    for number in range(5):
        await run(engine, input=f"a short question, number {number}")
    assert not running.done(), "the bulk request was over before the short ones were asked"
    await asyncio.wait_for(running, 120)
    assert large.shape == (250, 384)


def another(minilm: LoadedModel) -> LoadedModel:
    """The same model, with the token budget that was measured to be best."""
    return replace(minilm, limits=BatchLimits(256))


def budget(engine: SentenceTransformersEngine) -> str:
    return dict(engine.spec.labels)["token_budget"]


async def test_it_is_ready_before_the_backends_are_measured_and_goes_over_to_the_best(minilm: LoadedModel) -> None:
    measured = threading.Event()

    def measure() -> LoadedModel:
        assert measured.wait(30)
        return another(minilm)

    engine = engine_of(lambda: minilm, measured=measure)
    await engine.start()
    try:
        before = await run(engine, input=["hello"])
        assert budget(engine) == "512"
        measured.set()
        await eventually(lambda: budget(engine) == "256")
        assert engine.phase is EnginePhase.READY
        assert engine.spec.models[0].description.count("(") == 1
        np.testing.assert_allclose((await run(engine, input=["hello"])).vectors, before.vectors, atol=1e-5)
    finally:
        await engine.stop()


async def test_requests_that_run_while_the_backend_changes_are_answered(minilm: LoadedModel) -> None:
    engine = engine_of(lambda: minilm, measured=lambda: another(minilm))
    await engine.start()
    try:
        texts = [f"text {number} of many" for number in range(40)]
        answers = []
        while budget(engine) != "256" or len(answers) < 3:
            answers += await asyncio.gather(*(run(engine, input=texts) for _ in range(4)))
        answers.append(await run(engine, input=texts))
        assert all(np.allclose(answer.vectors, answers[0].vectors, atol=1e-5) for answer in answers)
    finally:
        await engine.stop()


@pytest.mark.parametrize("outcome", [ConfigurationError("no backend passes"), RuntimeError("out of memory"), None])
async def test_it_stays_as_it_is_where_measuring_fails_or_changes_nothing(
    minilm: LoadedModel, outcome: Exception | None
) -> None:
    asked = threading.Event()

    def measure() -> LoadedModel | None:
        asked.set()
        if outcome is not None:
            raise outcome
        return None

    engine = engine_of(lambda: minilm, measured=measure)
    await engine.start()
    try:
        assert await asyncio.to_thread(asked.wait, 30)
        assert (await run(engine, input=["hello"])).shape == (1, 384)
        assert (engine.phase, engine.reason) == (EnginePhase.READY, "")
    finally:
        await engine.stop()


async def test_an_engine_that_is_stopped_while_it_measures_stops(minilm: LoadedModel) -> None:
    stopped = threading.Event()

    def measure() -> LoadedModel:
        assert stopped.wait(30)
        raise UnavailableError("stopped")

    engine = engine_of(lambda: minilm, measured=measure, cancel_load=stopped.set)
    await engine.start()
    await asyncio.wait_for(engine.stop(), 10)
    assert engine.phase is EnginePhase.STOPPED
    with pytest.raises(UnavailableError):
        await run(engine, input=["hello"])
