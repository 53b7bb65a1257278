"""What every embedding backend that is installed promises, at every precision, with the real model."""

from __future__ import annotations

import csv
import gzip
import random
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from sage_embed_executor.backends.backend import EmbeddingBackend, Runtime, Vectors
from sage_embed_executor.backends.registry import BACKENDS, load_backend, problem_with
from sage_embed_executor.child_process import ChildRunner
from sage_embed_executor.exports.export_form import Precision
from sage_embed_executor.models.model_folder import ModelFolder, read_model_folder
from sage_embed_executor.models.tokenizer import TextTokenizer
from sage_embed_executor.models.weights import DEFAULT_MODEL, find_weights
from sage_embed_executor.selection.calibration_texts import calibration_texts
from sage_embed_executor.selection.trial_child import embed_all, least_cosine

pytestmark = pytest.mark.timeout(300)

_STS_PLACES = [parent / "shared" / "data" / "stsbenchmark.tsv.gz" for parent in Path(__file__).parents[3:]]
STS_BENCHMARK = next((place for place in _STS_PLACES if place.exists()), _STS_PLACES[0])
TEXTS = [
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "naïve café, 東京, emoji 🙂 and\ttabs\n",
    "long " * 400,
    " ",
    "word " * 120,
]
# How far a vector may be from itself when others share its batch, or another thread computes.
TOLERANCE = {Precision.FP32: 1e-5, Precision.BF16: 5e-3, Precision.INT8: 5e-3}
# One text, or shape, of so many shows whether arithmetic in bf16 is right, since it rounds any text alike. A processor
# without such arithmetic needs minutes for all of them.
SAMPLED = {Precision.BF16: 4}
SAMPLED_PAIRS = {Precision.BF16: 12}
Text = TypeVar("Text")
PAIRS = [(name, precision) for name, entry in BACKENDS.items() for precision in entry.precisions]
# Where a processor has no bf16, it is emulated at a tenth of the speed.
LONG = {Precision.BF16}


@dataclass(frozen=True)
class Subject:
    """A backend under test."""

    name: str
    precision: Precision
    backend: EmbeddingBackend


@pytest.fixture(scope="module")
def folder() -> ModelFolder:
    return read_model_folder(find_weights(DEFAULT_MODEL))


@pytest.fixture(scope="module")
def tokenizer(folder: ModelFolder) -> TextTokenizer:
    return TextTokenizer.load(folder.path)


def sample(texts: list[Text], precision: Precision) -> list[Text]:
    return texts[:: SAMPLED.get(precision, 1)]


class Reference:
    """What sentence-transformers computes, once for each set of texts."""

    def __init__(self, backend: EmbeddingBackend, tokenizer: TextTokenizer) -> None:
        self._backend = backend
        self._tokenizer = tokenizer
        self._known: dict[tuple[str, ...], Vectors] = {}

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of the texts, shape (len(texts), d)."""
        key = tuple(texts)
        if key not in self._known:
            self._known[key] = embed_all(self._backend, self._tokenizer.encode(list(texts), 256))
        return self._known[key]


@pytest.fixture(scope="module")
def reference(folder: ModelFolder, tokenizer: TextTokenizer) -> Reference:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Reference(load_backend("sentence-transformers", folder, Runtime()), tokenizer)


@pytest.fixture(scope="module")
def expected(folder: ModelFolder) -> Vectors:
    """What sentence-transformers makes of ``TEXTS`` by itself."""
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SentenceTransformer(str(folder.path), device="cpu").encode(TEXTS)


@pytest.fixture(scope="module")
def export_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(
    scope="module",
    params=[pytest.param(pair, marks=[pytest.mark.long] if pair[1] in LONG else []) for pair in PAIRS],
    ids=lambda pair: f"{pair[0]}-{pair[1].value}",
)
def subject(
    request: pytest.FixtureRequest, folder: ModelFolder, export_cache: Path, reference: Reference
) -> Iterator[Subject]:
    name, precision = request.param
    if problem := problem_with(name, precision):
        pytest.skip(f"{name}: {problem}")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("XDG_CACHE_HOME", str(export_cache))
        yield Subject(name, precision, load_backend(name, folder, Runtime(precision, streams=2)))


def test_vectors_are_those_of_sentence_transformers(
    subject: Subject, tokenizer: TextTokenizer, folder: ModelFolder, expected: Vectors
) -> None:
    vectors = subject.backend.embed(tokenizer.encode(TEXTS, folder.max_tokens))
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(TEXTS), subject.backend.dimensions))
    assert subject.precision.value in subject.backend.description
    if subject.precision is Precision.FP32:
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2)


def test_a_vector_is_the_same_whatever_shares_its_batch(subject: Subject, tokenizer: TextTokenizer) -> None:
    choose = random.Random(11)
    words = ["mesh", "answers", "every", "request", "unbelievably", "re-ranked", "1,024", "x"]
    texts = [" ".join(choose.choices(words, k=choose.randint(1, 60))) for _ in range(24)]
    inputs = tokenizer.encode(sample(texts, subject.precision), 256)
    count = len(inputs)
    alone = np.concatenate([subject.backend.embed([ids]) for ids in inputs])
    for size in (2, 5, count):
        order = choose.sample(range(count), count)
        for start in range(0, count, size):
            rows = order[start : start + size]
            together = subject.backend.embed([inputs[row] for row in rows])
            np.testing.assert_allclose(together, alone[rows], rtol=0, atol=TOLERANCE[subject.precision])


def test_streams_at_once_get_the_vectors_of_one(subject: Subject, tokenizer: TextTokenizer) -> None:
    groups = [tokenizer.encode(TEXTS[:3], 256), tokenizer.encode(TEXTS[3:], 64)]
    alone = [subject.backend.embed(group) for group in groups]
    results: list[tuple[int, Vectors]] = []

    def stream(number: int) -> None:
        results.extend((number, subject.backend.embed(groups[number])) for _ in range(6))

    threads = [threading.Thread(target=stream, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 12
    for number, vectors in results:
        np.testing.assert_allclose(vectors, alone[number], rtol=0, atol=1e-6)


def test_a_vector_stays_when_the_next_batch_is_computed(subject: Subject, tokenizer: TextTokenizer) -> None:
    first = subject.backend.embed(tokenizer.encode(TEXTS[:2], 256))
    kept = first.copy()
    subject.backend.embed(tokenizer.encode(TEXTS[2:4], 256))
    assert (first == kept).all()


@pytest.mark.long
def test_memory_stays_flat_over_shapes_that_never_repeat(
    subject: Subject, folder: ModelFolder, export_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(export_cache))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    every = SAMPLED.get(subject.precision, 1)
    asked = {"backend": subject.name, "precision": subject.precision.value, "folder": str(folder.path), "every": every}
    levels = ChildRunner().run("fixtures.memory_over_shapes", asked, 240)["levels"]
    # The first half fills what is kept; a runtime that keeps every shape goes on by 30-70 MB.
    assert len(levels) == 4
    assert levels[-1] - levels[1] < 20, levels


def test_reduced_precision_passes_the_quality_gate(
    subject: Subject, tokenizer: TextTokenizer, reference: Reference
) -> None:
    if subject.precision is Precision.FP32:
        pytest.skip("fp32 is compared to 1e-5 above")
    texts = sample(calibration_texts(), subject.precision)
    vectors = embed_all(subject.backend, tokenizer.encode(texts, 256))
    assert least_cosine(vectors, reference.vectors(texts)) >= 0.99


@pytest.mark.skipif(not STS_BENCHMARK.exists(), reason=f"no {STS_BENCHMARK}")
def test_reduced_precision_ranks_sts_pairs_as_fp32_does(
    subject: Subject, tokenizer: TextTokenizer, reference: Reference
) -> None:
    if subject.precision is Precision.FP32:
        pytest.skip("fp32 is compared to 1e-5 above")
    with gzip.open(STS_BENCHMARK, "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row["split"] == "test"]
    chosen = rows[:: SAMPLED_PAIRS.get(subject.precision, 1)]
    gold = np.array([float(row["score"]) for row in chosen])
    sides = [[row[side] for row in chosen] for side in ("sentence1", "sentence2")]
    exact = _spearman(*map(reference.vectors, sides), gold)
    reduced = _spearman(*(embed_all(subject.backend, tokenizer.encode(side, 256)) for side in sides), gold)
    if chosen == rows:
        assert exact == pytest.approx(0.8203, abs=2e-3)
    assert abs(reduced - exact) <= 0.005


def _spearman(first: Vectors, second: Vectors, gold: np.ndarray) -> float:
    from scipy.stats import spearmanr

    cosines = (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    return float(spearmanr(cosines, gold).statistic)
