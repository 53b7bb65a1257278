"""A cross-encoder with random weights, made here, beside sentence-transformers' own."""

from __future__ import annotations

import asyncio
import shutil
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from fixtures.recorded_reply import RecordedReply
from prometheus_client import CollectorRegistry

from sage_common.clock import MonotonicClock
from sage_common.errors import ConfigurationError, InvalidRequestError
from sage_control_plane.request.engine_state import EngineSpec, ModelCard
from sage_control_plane.request.request import Endpoint, RequestKind
from sage_embed_executor.backends.backend import EmbeddingBackend
from sage_embed_executor.config import EmbedExecutorSettings
from sage_embed_executor.engines.cross_encoder_engine import (
    ID_MASK,
    SEGMENT_SHIFT,
    CrossEncoderEngine,
    load_cross_encoder,
)
from sage_embed_executor.engines.cross_encoder_engine import with_segments as pack
from sage_embed_executor.engines.engine_type import EngineContext
from sage_embed_executor.engines.model_loader import LoadedModel
from sage_embed_executor.engines.registry import make_engines
from sage_embed_executor.exports.export_form import Precision
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.model_folder import ModelFolder, read_model_folder
from sage_embed_executor.models.tokenizer import TextTokenizer
from sage_mesh.engine import EngineRequest

DOCUMENTS = ["Bananas are yellow.", "I forgot my login secret.", "Weather " * 90, "Passwords are reset by mail."]


def save_model(folder: ModelFolder, path: Path, labels: int) -> Path:
    """A BERT of two narrow layers that classifies, with MiniLM's tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=folder.vocabulary_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=labels,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(path)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (folder.path / name).exists():
            shutil.copy(folder.path / name, path / name)
    return path


@pytest.fixture(scope="module")
def model_path(folder: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return save_model(folder, tmp_path_factory.mktemp("cross") / "tiny", labels=1)


@pytest.fixture
async def engine(model_path: Path) -> AsyncIterator[CrossEncoderEngine]:
    def load() -> LoadedModel:
        folder = read_model_folder(model_path)
        return LoadedModel(folder, TextTokenizer.load(folder.path), load_cross_encoder(folder, 1))

    card = ModelCard("tiny", frozenset({RequestKind.RERANK}))
    spec = EngineSpec("cross-test", "cross-encoder", (card,))
    metrics = EmbedMetrics(CollectorRegistry())
    one = CrossEncoderEngine(spec, load, 2, 1_000_000, MonotonicClock(), metrics)
    await one.start()
    yield one
    await one.stop()


async def rerank(engine: CrossEncoderEngine, **body: Any) -> dict[str, Any]:
    answer = RecordedReply()
    job = EngineRequest("r", Endpoint.RERANK, orjson.dumps(body), "tiny")
    await asyncio.wait_for(engine.run(job, answer), 60)
    value: dict[str, Any] = orjson.loads(bytes(answer.bytes_))
    value["truncated"] = answer.used.truncated_inputs
    return value


async def test_scores_are_those_of_sentence_transformers(engine: CrossEncoderEngine, model_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    query = "How do I reset my password?"
    reference = CrossEncoder(str(model_path), device="cpu", max_length=64)
    expected = np.asarray(reference.predict([(query, document) for document in DOCUMENTS]))
    answer = await rerank(engine, query=query, documents=DOCUMENTS)
    scores = {result["index"]: result["relevance_score"] for result in answer["results"]}
    np.testing.assert_allclose([scores[n] for n in range(len(DOCUMENTS))], expected, atol=1e-5)
    assert [r["index"] for r in answer["results"]] == list(np.argsort(-expected, kind="stable"))
    assert len(set(np.round(expected, 4))) == len(DOCUMENTS), "equal scores would prove nothing"
    assert answer["truncated"] == 1


async def test_only_the_best_are_returned_with_their_documents_when_asked_for(engine: CrossEncoderEngine) -> None:
    every = await rerank(engine, query="reset", documents=DOCUMENTS)
    best = await rerank(engine, query="reset", documents=DOCUMENTS, top_n=2, return_documents=True)
    assert [r["index"] for r in best["results"]] == [r["index"] for r in every["results"][:2]]
    assert best["results"][0]["document"]["text"] == DOCUMENTS[best["results"][0]["index"]]


async def test_a_query_that_leaves_no_room_for_a_document_is_refused(engine: CrossEncoderEngine) -> None:
    with pytest.raises(InvalidRequestError, match="'query' has 70 tokens; the model takes 64") as caught:
        await rerank(engine, query="word " * 70, documents=["a"])
    assert (caught.value.code, caught.value.param) == ("input_too_long", "query")


async def test_a_document_that_may_not_be_cut_is_refused(engine: CrossEncoderEngine) -> None:
    with pytest.raises(InvalidRequestError, match=r"'documents\[2\]' has 9\d tokens, the limit is 64"):
        await rerank(engine, query="a", documents=DOCUMENTS, truncate="NONE")


async def test_a_cross_encoder_has_no_vectors(engine: CrossEncoderEngine) -> None:
    with pytest.raises(InvalidRequestError, match="use /v1/rerank"):
        await engine.run(EngineRequest("r", Endpoint.EMBEDDINGS, b'{"input":"a"}', "tiny"), RecordedReply())


def test_a_classifier_of_several_labels_is_no_cross_encoder(folder: ModelFolder, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = save_model(folder, tmp_path / "three", labels=3)
        with pytest.raises(ConfigurationError, match="has 3 labels"):
            load_cross_encoder(read_model_folder(path), 1)


def in_precision(model_path: Path, precision: Precision) -> tuple[EmbeddingBackend, np.ndarray[Any, Any]]:
    """A model at a precision, and its logits for DOCUMENTS."""
    backend = load_cross_encoder(read_model_folder(model_path), 1, precision)
    pairs = TextTokenizer.load(model_path).encode_pairs("How do I reset my password?", DOCUMENTS, 64)
    return backend, backend.embed([pack(ids, segments) for ids, segments, _ in pairs])[:, 0]


def test_bf16_is_computed_where_it_is_asked_for(model_path: Path) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    exact, logits = in_precision(model_path, Precision.FP32)
    reduced, rounded = in_precision(model_path, Precision.BF16)
    assert "fp32 on cpu" in exact.description
    assert "bf16 on cpu" in reduced.description
    assert rounded.dtype == np.float32
    assert not np.allclose(logits, rounded, rtol=1e-6), "bf16 rounds"
    reference = CrossEncoder(str(model_path), device="cpu", max_length=64, model_kwargs={"dtype": torch.bfloat16})
    pairs = [("How do I reset my password?", document) for document in DOCUMENTS]
    expected = reference.predict(pairs, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(rounded, np.asarray(expected, dtype=np.float32), atol=0.1)


def test_files_in_bf16_are_computed_in_fp32_unless_asked_otherwise(model_path: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(str(model_path), dtype=torch.bfloat16)
    stored = shutil.copytree(model_path, tmp_path / "stored")
    model.save_pretrained(stored)
    assert "fp32" in in_precision(stored, Precision.FP32)[0].description


def test_a_device_that_is_not_there_is_named(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match="no device 'cuda:1'; set SAGE_EMBED_EXECUTOR_DEVICE=cpu"):
        load_cross_encoder(read_model_folder(model_path), 1, device="cuda:1")


async def test_each_cross_encoder_is_an_engine_with_the_precision_that_was_set(model_path: Path) -> None:
    other = model_path.with_name("other")
    if not other.exists():
        shutil.copytree(model_path, other)
    settings = EmbedExecutorSettings(
        engine="cross-encoder", model=str(model_path), further_models=[str(other)], precision="bf16", streams=1
    )
    metrics = EmbedMetrics(CollectorRegistry())
    engines = make_engines(EngineContext(settings, "embed-executor-1-abcdef", MonotonicClock(), metrics))
    assert [engine.spec.engine_id for engine in engines] == ["tiny-cdef", "other-cdef"]
    await asyncio.gather(*(engine.start() for engine in engines))
    try:
        for engine in engines:
            labels = dict(engine.spec.labels)
            assert labels["precision"] == "bf16"
            assert "bf16" in labels["backend"]
            assert isinstance(engine, CrossEncoderEngine)
            answer = await rerank(engine, query="reset", documents=DOCUMENTS)
            assert len(answer["results"]) == len(DOCUMENTS)
    finally:
        for engine in engines:
            await engine.stop()


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("backend", "openvino", "set SAGE_EMBED_EXECUTOR_BACKEND to torch or auto"),
        ("backend", "sentence-transformers", "with torch only, not sentence-transformers"),
        ("backend", "tourch", "unknown embedding backend 'tourch'"),
        ("precision", "int8", "set SAGE_EMBED_EXECUTOR_PRECISION to fp32 or bf16, or to auto"),
    ],
)
def test_what_torch_cannot_do_is_refused_with_the_setting(setting: str, value: str, message: str) -> None:
    settings = EmbedExecutorSettings(engine="cross-encoder", **{setting: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=message):
        make_engines(
            EngineContext(settings, "embed-executor-1-abcdef", MonotonicClock(), EmbedMetrics(CollectorRegistry()))
        )


def test_a_segment_and_an_id_share_a_number_and_part_again() -> None:
    ids, segments = np.array([101, 30521], dtype=np.int32), np.array([0, 1], dtype=np.int32)
    packed = pack(ids, segments)
    assert packed.dtype == np.int32
    assert (packed & ID_MASK).tolist() == [101, 30521]
    assert (packed >> SEGMENT_SHIFT).tolist() == [0, 1]
