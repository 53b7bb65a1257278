from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_middleware.knowledge.quantization import Floats, Int8s, quantize, unit_rows
from sage_middleware.knowledge.vector_scan import Int8Dots, NumkongDots, NumpyDots, VectorScan

BACKENDS = [pytest.param(NumpyDots, id="numpy"), pytest.param(NumkongDots, id="numkong")]


def _scan(unit: Floats, dots: type[NumpyDots] | type[NumkongDots]) -> VectorScan:
    return VectorScan(quantize(unit), lambda rows: unit[rows], dots)


@pytest.fixture(params=BACKENDS)
def dots(request: pytest.FixtureRequest) -> type[NumpyDots] | type[NumkongDots]:
    if request.param is NumkongDots:
        pytest.importorskip("numkong")
    backend: type[NumpyDots] | type[NumkongDots] = request.param
    return backend


@pytest.mark.parametrize("dimension", [1, 3, 64, 384, 385])
def test_products_are_exact(dots: type[NumpyDots] | type[NumkongDots], dimension: int) -> None:
    random = np.random.default_rng(dimension)
    values: Int8s = random.integers(-127, 128, (1000, dimension), dtype=np.int8)
    query: Int8s = random.integers(-127, 128, dimension, dtype=np.int8)
    backend: Int8Dots = dots(values)
    assert (backend(query) == values.astype(np.int32) @ query.astype(np.int32)).all()


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 300),
    st.integers(1, 40),
    st.integers(1, 20),
    st.sampled_from([0.0, 1e-3, 1.0]),
)
def test_the_nearest_are_those_of_float32(seed: int, count: int, dimension: int, k: int, spread: float) -> None:
    # With a small spread all vectors are nearly alike, and only float32 tells them apart.
    random = np.random.default_rng(seed)
    centre = random.normal(size=dimension)
    unit = unit_rows(centre + spread * random.normal(size=(count, dimension)))
    query = centre + spread * random.normal(size=dimension)
    found = _scan(unit, NumpyDots).nearest(query, k)
    scores = np.round(unit @ unit_rows(query[None, :])[0], 6)
    expected = np.sort(scores)[::-1][:k]
    assert np.allclose(found.scores, expected, atol=2e-6)
    assert len(set(found.rows.tolist())) == min(k, count)


def test_only_rows_that_are_allowed_are_found(dots: type[NumpyDots] | type[NumkongDots]) -> None:
    unit = unit_rows(np.random.default_rng(1).normal(size=(50, 8)))
    allowed = np.zeros(50, dtype=np.bool_)
    allowed[[3, 40]] = True
    found = _scan(unit, dots).nearest(unit[7], 5, allowed)
    assert sorted(found.rows.tolist()) == [3, 40]


def test_equals_come_in_the_order_of_their_rows(dots: type[NumpyDots] | type[NumkongDots]) -> None:
    unit = np.tile(unit_rows([[1.0, 2.0]]), (6, 1))
    assert _scan(unit, dots).nearest([1.0, 2.0], 3).rows.tolist() == [0, 1, 2]


def test_what_does_not_fit_is_refused(dots: type[NumpyDots] | type[NumkongDots]) -> None:
    scan = _scan(unit_rows(np.eye(3)), dots)
    with pytest.raises(ValueError, match="have 3 numbers"):
        scan.nearest([1.0, 2.0], 1)
    with pytest.raises(ValueError, match="NaN"):
        scan.nearest([1.0, float("nan"), 0.0], 1)
    with pytest.raises(ValueError, match="at least one"):
        scan.nearest([1.0, 2.0, 3.0], 0)
    empty = np.empty((0, 3), dtype=np.float32)
    assert _scan(empty, dots).nearest([1.0, 2.0, 3.0], 4).rows.tolist() == []


def test_the_error_bound_holds() -> None:
    unit = unit_rows(np.random.default_rng(2).normal(size=(500, 384)))
    codes = quantize(unit)
    off = np.linalg.norm(unit.astype(np.float64) - codes.values * codes.scales[:, None].astype(np.float64), axis=1)
    assert (off <= codes.errors).all()
    assert codes.errors.max() < 0.02
