from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage_kernel.builder import Pipeline
from sage_kernel.model_port import Embeddings
from sage_kernel.problems import NodeFailedError
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.runtime.progress import RunResult


async def embed(models: Any, texts: list[str], cache_dir: Path | None, **options: Any) -> RunResult:
    pipeline = Pipeline("p")
    records = [{"n": n, "text": text} for n, text in enumerate(texts)]
    pipeline.source(records=records).embed(**options).sink("collection:out")
    return await LocalRunner(models, cache_dir=cache_dir).run(pipeline.build())


async def test_an_unchanged_text_is_not_embedded_again(models: Any, tmp_path: Path) -> None:
    first = await embed(models, ["a", "b", "c", "b"], tmp_path, cache="kb")
    assert models.embedded == ["a", "b", "c"]
    models.embedded.clear()
    second = await embed(models, ["a", "b", "c", "d"], tmp_path, cache="kb")
    assert models.embedded == ["a", "d"]  # "a" asks which model serves
    for before, after in zip(first.collections["out"][:3], second.collections["out"], strict=False):
        assert np.array_equal(before["vector"], after["vector"])


async def test_another_model_never_gets_the_vectors_of_the_first(models: Any, tmp_path: Path) -> None:
    await embed(models, ["a", "b"], tmp_path, cache="kb")
    models.embedding_model = "other"
    models.embedded.clear()
    await embed(models, ["a", "b"], tmp_path, cache="kb")
    assert sorted(models.embedded) == ["a", "b"]


async def test_vectors_are_kept_when_the_run_fails(models: Any, tmp_path: Path) -> None:
    pipeline = Pipeline("p")
    source = pipeline.source(records=[{"text": "a"}, {"text": "b"}])
    source.embed(cache="kb").chunk(text="vector").sink("collection:out")
    with pytest.raises(NodeFailedError, match="expected text"):
        await LocalRunner(models, cache_dir=tmp_path).run(pipeline.build())
    models.embedded.clear()
    await embed(models, ["a", "b"], tmp_path, cache="kb")
    assert models.embedded == ["a"]


async def test_nothing_is_kept_without_a_cache(models: Any, tmp_path: Path) -> None:
    await embed(models, ["a"], tmp_path)
    await embed(models, ["a"], None, cache="kb")
    assert models.embedded == ["a", "a"]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "vectors", [np.zeros((1, 3)), np.zeros(2), np.full((2, 3), np.nan)], ids=["too few", "flat", "nan"]
)
async def test_vectors_that_do_not_fit_are_an_engine_failure(models: Any, vectors: np.ndarray) -> None:
    async def wrong(texts: Sequence[str], model: str | None = None, **options: Any) -> Embeddings:
        await asyncio.sleep(0)
        return Embeddings(vectors, "bad")

    models.embed = wrong
    with pytest.raises(NodeFailedError, match="model 'bad' gave vectors of shape"):
        await embed(models, ["a", "b"], None)
