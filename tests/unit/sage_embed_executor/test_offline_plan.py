from __future__ import annotations

import numpy as np

from sage_embed_executor.engines.in_process_engine import LoadedModel
from sage_embed_executor.offline_plan import run_plan, sorted_batches


def test_batches_hold_every_input_once_within_the_budget() -> None:
    inputs = [np.zeros(length, dtype=np.int32) for length in (3, 9, 4, 30, 4, 1)]
    batches = sorted_batches(inputs, 12)
    assert batches == [[3], [1], [2, 4, 0], [5]]


def test_the_plan_gives_each_input_its_own_vector(minilm: LoadedModel) -> None:
    inputs = minilm.tokenizer.encode(["one", "two words", "and three words"], 256)
    _, vectors = run_plan(minilm.backend, inputs, 16, 2)
    alone = np.concatenate([minilm.backend.embed([ids]) for ids in inputs])
    np.testing.assert_allclose(vectors, alone, rtol=0, atol=1e-5)
