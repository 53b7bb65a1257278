from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_libs.vector_index import ExactVectorIndex


@given(st.integers(1, 200), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_nearest_are_those_of_a_full_sort(n: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.integers(-2, 3, size=(n, 3)).astype(np.float32)
    query = random.normal(size=3).astype(np.float32)
    index: ExactVectorIndex[int] = ExactVectorIndex()
    for key, vector in enumerate(vectors):
        index.add(key, vector)
    lengths = np.linalg.norm(vectors, axis=1)
    cosine = vectors @ query / np.where(lengths > 0, lengths, 1) / np.linalg.norm(query)
    found = index.search(query, k)
    assert [hit.score for hit in found] == pytest.approx(sorted(cosine, reverse=True)[:k], abs=1e-5)
    assert [hit.score for hit in found] == pytest.approx([cosine[hit.key] for hit in found], abs=1e-5)
    assert len({hit.key for hit in found}) == min(n, k)


@pytest.fixture(params=["auto", "off"])
def scan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Search with what is installed here, then with NumPy."""
    monkeypatch.setenv("SAGE_NATIVE", request.param)
    return str(request.param)


@pytest.mark.usefixtures("scan")
def test_an_index_that_grows_and_changes_between_searches_finds_what_a_full_sort_does() -> None:
    random = np.random.default_rng(5)
    vectors = random.normal(size=(900, 24)).astype(np.float32)
    # Repeated vectors tie, whichever scan finds them.
    vectors[300:600] = vectors[:300]
    index: ExactVectorIndex[int] = ExactVectorIndex()
    stored: dict[int, np.ndarray] = {}
    for key, vector in enumerate(vectors):
        index.add(key, vector)
        stored[key] = vector
        if key % 100 == 50:
            changed = int(random.integers(0, key))
            stored[changed] = random.normal(size=24).astype(np.float32)
            index.add(changed, stored[changed])
        if key % 90 == 40:
            query = random.normal(size=24).astype(np.float32)
            rows = np.array(list(stored.values()))
            cosines = np.round(rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query), 5)
            wanted = np.argsort(-cosines, kind="stable")[:7].tolist()
            assert [hit.key for hit in index.search(query, 7)] == wanted


@pytest.mark.usefixtures("scan")
def test_ties_go_to_the_key_stored_first() -> None:
    index: ExactVectorIndex[str] = ExactVectorIndex()
    for key in "abcd":
        index.add(key, [1.0, 0.0])
    index.add("e", [-1.0, 0.0])
    assert [hit.key for hit in index.search([3.0, 0.0], 2)] == ["a", "b"]


def test_a_key_stored_again_gets_the_new_vector() -> None:
    index: ExactVectorIndex[str] = ExactVectorIndex(2)
    index.add("a", [1.0, 0.0])
    index.add("a", [0.0, 2.0])
    assert len(index) == 1
    assert "a" in index
    assert index.search([0.0, 1.0], 1)[0].score == pytest.approx(1.0)


@pytest.mark.usefixtures("scan")
def test_an_empty_index_finds_nothing_and_a_zero_vector_is_like_nothing() -> None:
    index: ExactVectorIndex[str] = ExactVectorIndex()
    assert index.search([1.0], 3) == []
    index.add("zero", [0.0])
    assert index.search([1.0], 3)[0].score == 0.0


def test_vectors_that_cannot_be_compared_are_refused() -> None:
    index: ExactVectorIndex[str] = ExactVectorIndex()
    index.add("a", [1.0, 0.0])
    with pytest.raises(ValueError, match="of 2 numbers, got one of 3"):
        index.add("b", [1.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="NaN"):
        index.add("b", [float("nan"), 0.0])
    with pytest.raises(ValueError, match="shape"):
        index.search([1.0], 1)
    with pytest.raises(ValueError, match="at least one"):
        index.search([1.0, 0.0], 0)
