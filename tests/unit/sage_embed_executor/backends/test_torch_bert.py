"""Every backend against sentence-transformers' own ``encode``, with the real model."""

from __future__ import annotations

import random
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest

from sage_embed_executor.backends.backend import EmbeddingBackend, Vectors
from sage_embed_executor.backends.registry import BACKENDS, load_backend
from sage_embed_executor.model_folder import ModelFolder
from sage_embed_executor.tokenizer import TextTokenizer

TEXTS = [
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "SAGE turns a handful of inference engines into one service.",
    "naïve café, 東京, emoji 🙂 and\ttabs\n",
    "long " * 400,
    " ",
    "word " * 120,
]


@pytest.fixture(scope="module")
def reference(folder: ModelFolder) -> Vectors:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        vectors: Vectors = SentenceTransformer(str(folder.path), device="cpu").encode(TEXTS)
    return vectors


@pytest.fixture(scope="module", params=list(BACKENDS))
def backend(request: pytest.FixtureRequest, folder: ModelFolder) -> EmbeddingBackend:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_backend(request.param, folder, threads=1)


def test_vectors_equal_those_of_the_library(
    backend: EmbeddingBackend, tokenizer: TextTokenizer, folder: ModelFolder, reference: Vectors
) -> None:
    vectors = backend.embed(tokenizer.encode(TEXTS, folder.max_tokens))
    assert backend.dimensions == vectors.shape[1] == 384
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, reference, rtol=0, atol=1e-5)


def test_a_vector_is_the_same_whatever_shares_its_batch(backend: EmbeddingBackend, tokenizer: TextTokenizer) -> None:
    choose = random.Random(11)
    words = ["mesh", "answers", "every", "request", "unbelievably", "re-ranked", "1,024", "x"]
    texts = [" ".join(choose.choices(words, k=choose.randint(1, 60))) for _ in range(24)]
    inputs = tokenizer.encode(texts, 256)
    alone = np.concatenate([backend.embed([ids]) for ids in inputs])
    for size in (2, 5, 24):
        order = choose.sample(range(24), 24)
        for start in range(0, 24, size):
            rows = order[start : start + size]
            together = backend.embed([inputs[row] for row in rows])
            np.testing.assert_allclose(together, alone[rows], rtol=0, atol=1e-5)


def test_two_threads_at_once_get_the_values_of_one(backend: EmbeddingBackend, tokenizer: TextTokenizer) -> None:
    inputs = tokenizer.encode(TEXTS[:4], 256)
    alone = backend.embed(inputs)
    results: list[Vectors] = []
    threads = [
        threading.Thread(target=lambda: results.extend(backend.embed(inputs) for _ in range(5))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 10
    for vectors in results:
        np.testing.assert_allclose(vectors, alone, rtol=0, atol=1e-6)


def test_every_linear_layer_implementation_gives_the_same_values() -> None:
    import torch

    from sage_embed_executor.backends.torch_linear import PACKED, PLAIN, fastest_linear

    generator = torch.Generator().manual_seed(3)
    weight, bias, x = (torch.randn(shape, generator=generator) for shape in ((48, 32), (48,), (7, 32)))
    assert fastest_linear(32, 48, torch.float32, torch.device("cpu")) in (PLAIN, PACKED)
    for gelu in (False, True):
        expected = torch.nn.functional.linear(x, weight, bias)
        expected = torch.nn.functional.gelu(expected) if gelu else expected
        for kind in (PLAIN, PACKED):
            assert torch.allclose(kind.make(weight, bias, gelu)(x), expected, atol=1e-5), (kind.name, gelu)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"config": {"model_type": "mpnet"}}, "model type 'mpnet', expected 'bert'"),
        ({"config": {"model_type": "bert", "hidden_act": "gelu_new"}}, "only absolute positions and exact GELU"),
        ({"modules": ("Transformer", "Pooling", "Dense")}, "modules Transformer, Pooling, Dense"),
        ({"pooling": {"pooling_mode_max_tokens": True}}, "pooling is neither the mean nor the first token"),
    ],
)
def test_a_model_that_the_fast_backend_would_get_wrong_is_left_to_the_library(
    folder: ModelFolder, change: dict[str, object], problem: str
) -> None:
    from sage_embed_executor.backends import torch_bert

    assert torch_bert.supports(folder) == ""
    assert torch_bert.supports(replace(folder, **change)) == problem  # type: ignore[arg-type]


def test_rows_are_rounded_to_few_sizes_without_much_waste() -> None:
    from sage_embed_executor.backends.torch_linear import rounded_rows

    sizes = [rounded_rows(rows) for rows in range(1, 513)]
    assert all(rows <= size <= max(rows + 7, rows * 9 / 8) for rows, size in enumerate(sizes, start=1))
    assert len(set(sizes)) <= 32
