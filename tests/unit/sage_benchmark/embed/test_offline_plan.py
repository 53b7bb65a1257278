from __future__ import annotations

import warnings

import numpy as np
import pytest

from sage_benchmark.embed.offline_plan import run_plan, sorted_batches
from sage_embed_executor.backends.backend import Runtime
from sage_embed_executor.backends.registry import load_backend
from sage_embed_executor.models.model_folder import read_model_folder
from sage_embed_executor.models.tokenizer import TextTokenizer
from sage_embed_executor.models.weights import DEFAULT_MODEL, find_weights


def test_batches_hold_every_input_once_within_the_budget() -> None:
    inputs = [np.zeros(length, dtype=np.int32) for length in (3, 9, 4, 30, 4, 1)]
    batches = sorted_batches(inputs, 12)
    assert batches == [[3], [1], [2, 4, 0], [5]]


@pytest.mark.long
def test_the_plan_gives_each_input_its_own_vector() -> None:
    folder = read_model_folder(find_weights(DEFAULT_MODEL))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whatever frameworks say about themselves while they are imported
        backend = load_backend("torch", folder, Runtime())
    inputs = TextTokenizer.load(folder.path).encode(["one", "two words", "and three words"], 256)
    _, vectors = run_plan(backend, inputs, 16, 2)
    alone = np.concatenate([backend.embed([ids]) for ids in inputs])
    np.testing.assert_allclose(vectors, alone, rtol=0, atol=1e-5)
