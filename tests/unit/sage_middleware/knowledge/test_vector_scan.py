from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_libs.native_scan import native_scan
from sage_libs.quantization import Floats, Int8s, Quantized, quantize, unit_rows
from sage_middleware.knowledge.vector_scan import (
    FusedScan,
    Int8Dots,
    NumkongDots,
    NumpyDots,
    Scan,
    VectorScan,
    best_scan,
    numkong_scan,
    numpy_scan,
)

BACKENDS = [pytest.param(NumpyDots, id="numpy"), pytest.param(NumkongDots, id="numkong")]
MakeScan = Callable[[Quantized], Scan]


def _scan(unit: Floats, make: MakeScan) -> VectorScan:
    return VectorScan(quantize(unit), lambda rows: unit[rows], make)


def _native_or_skip() -> None:
    if native_scan() is None:
        pytest.skip("sage-native is not installed")


@pytest.fixture(params=["numpy", "numkong", "native"])
def make_scan(request: pytest.FixtureRequest) -> MakeScan:
    if request.param == "numkong":
        pytest.importorskip("numkong")
    if request.param == "native":
        _native_or_skip()
    makers: dict[str, MakeScan] = {"numpy": numpy_scan, "numkong": numkong_scan, "native": FusedScan}
    return makers[request.param]


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


@pytest.mark.parametrize("make", [numpy_scan, FusedScan])
@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 300),
    st.integers(1, 200),
    st.integers(1, 20),
    st.sampled_from([0.0, 1e-3, 1.0]),
    st.integers(1, 9),
)
def test_the_nearest_are_those_of_float32(
    make: MakeScan, seed: int, count: int, dimension: int, k: int, spread: float, queries: int
) -> None:
    if make is FusedScan:
        _native_or_skip()
    # With a small spread all vectors are nearly alike, and only float32 tells them apart.
    random = np.random.default_rng(seed)
    centre = random.normal(size=dimension)
    unit = unit_rows(centre + spread * random.normal(size=(count, dimension)))
    asked = centre + spread * random.normal(size=(queries, dimension))
    for query, found in zip(asked, _scan(unit, make).nearest_to_each(asked, k), strict=True):
        scores = np.round(unit @ unit_rows(query[None, :])[0], 6)
        expected = np.sort(scores)[::-1][:k]
        assert np.allclose(found.scores, expected, atol=2e-6)
        assert len(set(found.rows.tolist())) == min(k, count)


def test_only_rows_that_are_allowed_are_found(make_scan: MakeScan) -> None:
    unit = unit_rows(np.random.default_rng(1).normal(size=(50, 8)))
    allowed = np.zeros(50, dtype=np.bool_)
    allowed[[3, 40]] = True
    found = _scan(unit, make_scan).nearest(unit[7], 5, allowed)
    assert sorted(found.rows.tolist()) == [3, 40]
    assert _scan(unit, make_scan).nearest(unit[7], 5, np.zeros(50, dtype=np.bool_)).rows.tolist() == []


def test_equals_come_in_the_order_of_their_rows(make_scan: MakeScan) -> None:
    unit = np.tile(unit_rows([[1.0, 2.0]]), (6, 1))
    assert _scan(unit, make_scan).nearest([1.0, 2.0], 3).rows.tolist() == [0, 1, 2]


def test_zeros_are_unlike_everything(make_scan: MakeScan) -> None:
    unit = unit_rows([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert _scan(unit, make_scan).nearest([1.0, 0.0], 3).scores.tolist() == [1.0, 0.0, -1.0]
    assert _scan(unit, make_scan).nearest([0.0, 0.0], 9).scores.tolist() == [0.0, 0.0, 0.0]


def test_what_does_not_fit_is_refused(make_scan: MakeScan) -> None:
    scan = _scan(unit_rows(np.eye(3)), make_scan)
    with pytest.raises(ValueError, match="have 3 numbers"):
        scan.nearest([1.0, 2.0], 1)
    with pytest.raises(ValueError, match="have 3 numbers"):
        scan.nearest_to_each([[1.0, 2.0]], 1)
    with pytest.raises(ValueError, match="NaN"):
        scan.nearest([1.0, float("nan"), 0.0], 1)
    with pytest.raises(ValueError, match="at least one"):
        scan.nearest([1.0, 2.0, 3.0], 0)
    with pytest.raises(ValueError, match="there are 3 vectors"):
        scan.nearest([1.0, 2.0, 3.0], 1, np.ones(2, dtype=np.bool_))
    empty = np.empty((0, 3), dtype=np.float32)
    assert _scan(empty, make_scan).nearest([1.0, 2.0, 3.0], 4).rows.tolist() == []


def test_without_the_extension_another_scan_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_NATIVE", "off")
    unit = unit_rows(np.eye(3))
    assert _scan(unit, best_scan).backend in ("numkong", "numpy")
    with pytest.raises(ImportError, match="sage-native"):
        FusedScan(quantize(unit))


def test_the_error_bound_holds() -> None:
    unit = unit_rows(np.random.default_rng(2).normal(size=(500, 384)))
    codes = quantize(unit)
    off = np.linalg.norm(unit.astype(np.float64) - codes.values * codes.scales[:, None].astype(np.float64), axis=1)
    assert (off <= codes.errors).all()
    assert codes.errors.max() < 0.02
