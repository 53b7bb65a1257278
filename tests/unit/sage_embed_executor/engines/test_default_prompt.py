"""A model whose files name a default prompt, beside sentence-transformers' own encode()."""

from __future__ import annotations

import asyncio
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
from sage_control_plane.request.engine_state import EngineSpec
from sage_control_plane.request.request import Endpoint
from sage_embed_executor.engines.model_loader import LoadedModel
from sage_embed_executor.engines.sentence_transformers_engine import SentenceTransformersEngine, new_card
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.model_folder import ModelFolder, read_model_folder
from sage_mesh.engine import EngineRequest

TEXTS = ["How do I reset my password?", "Bananas are yellow."]
# The library that they are compared with takes half a minute to import on a busy machine.
pytestmark = pytest.mark.long

PROMPTS = {"query": "Represent this question for a search: ", "document": "Passage: "}


@pytest.fixture(scope="module")
def prompting_path(folder: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM, with prompts."""
    path = tmp_path_factory.mktemp("prompting") / "minilm"
    path.mkdir()
    name = "config_sentence_transformers.json"
    for file in folder.path.iterdir():
        if file.name != name:
            (path / file.name).symlink_to(file)
    stated = orjson.loads((folder.path / name).read_bytes()) if (folder.path / name).exists() else {}
    (path / name).write_bytes(orjson.dumps({**stated, "prompts": PROMPTS, "default_prompt_name": "query"}))
    return path


@pytest.fixture
async def engine(minilm: LoadedModel, prompting_path: Path) -> AsyncIterator[SentenceTransformersEngine]:
    model = LoadedModel(read_model_folder(prompting_path), minilm.tokenizer, minilm.backend)
    spec = EngineSpec("prompting-test", "sentence-transformers", (new_card("minilm", ()),), max_concurrency=64)
    one = SentenceTransformersEngine(
        spec, lambda: model, 1, 1_000_000, MonotonicClock(), EmbedMetrics(CollectorRegistry())
    )
    await one.start()
    yield one
    await one.stop()


async def run(engine: SentenceTransformersEngine, endpoint: Endpoint, **body: Any) -> RecordedReply:
    answer = RecordedReply()
    await asyncio.wait_for(engine.run(EngineRequest("r", endpoint, orjson.dumps(body), "minilm"), answer), 60)
    return answer


async def test_vectors_are_those_of_sentence_transformers_with_every_choice_of_prompt(
    engine: SentenceTransformersEngine, prompting_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        reference = SentenceTransformer(str(prompting_path), device="cpu", local_files_only=True)
    choices: list[dict[str, str]] = [{}, {"prompt": ""}, {"prompt": "Mine: "}, {"prompt_name": "document"}]
    found = []
    for choice in choices:
        expected = reference.encode(TEXTS, **choice)
        answer = await run(engine, Endpoint.EMBEDDINGS, input=TEXTS, **choice)
        np.testing.assert_allclose(answer.vectors, expected, atol=1e-5, err_msg=str(choice))
        found.append(expected)
    assert not np.allclose(found[0], found[1], atol=1e-2), "a prompt that changes nothing proves nothing"


async def test_similarity_is_that_of_the_query_and_document_prompts(
    engine: SentenceTransformersEngine, prompting_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        reference = SentenceTransformer(str(prompting_path), device="cpu", local_files_only=True)
    expected = (reference.encode_document(TEXTS) @ reference.encode_query("I forgot my login").T).tolist()
    answer = await run(engine, Endpoint.RERANK, query="I forgot my login", documents=TEXTS)
    results = orjson.loads(bytes(answer.bytes_))["results"]
    scores = {result["index"]: result["relevance_score"] for result in results}
    np.testing.assert_allclose([scores[0], scores[1]], expected, atol=1e-5)
