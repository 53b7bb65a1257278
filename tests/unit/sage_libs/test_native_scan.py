from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_libs.native_scan import native_scan
from sage_libs.quantization import Floats, quantize, unit_rows

native: Any = pytest.importorskip("sage_native")
if not hasattr(native, "PackedRows"):
    pytest.skip("this sage-native has no vector scan", allow_module_level=True)
VARIANTS = native.scan_variants()


def unit_vectors(seed: int, count: int, dimension: int) -> Floats:
    return unit_rows(np.random.default_rng(seed).standard_normal((count, dimension)))


def packed(unit: Floats) -> Any:
    rows = native.PackedRows(unit.shape[1])
    rows.append_vectors(unit)
    return rows


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e-42])
def test_quantization_is_that_of_the_reference(scale: float) -> None:
    unit = (unit_vectors(1, 50, 100) * np.float32(scale)).astype(np.float32)
    unit[3] = 0
    values, scales, errors = native.quantize(unit)
    off = np.linalg.norm(unit.astype(np.float64) - values * scales[:, None].astype(np.float64), axis=1)
    assert (off <= errors).all()
    if scale == 1.0:
        reference = quantize(unit)
        assert (values == reference.values).all()
        assert (scales == reference.scales).all()
        assert np.allclose(errors, reference.errors, atol=1e-7)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dimension", [1, 63, 64, 65, 300])
def test_every_variant_finds_the_nearest_and_all_pairs(variant: str, dimension: int) -> None:
    unit, queries = unit_vectors(2, 333, dimension), unit_vectors(3, 15, dimension)
    scores = queries.astype(np.float64) @ unit.T.astype(np.float64)
    rows = packed(unit)
    offsets, found = rows.nearest(queries, 7, threads=2, variant=variant)
    for query in range(15):
        nearest = np.argsort(-scores[query], kind="stable")[:7]
        assert set(nearest.tolist()) <= set(found[offsets[query] : offsets[query + 1]].tolist())
    threshold = float(np.sort(scores.ravel())[-40])
    segments = [packed(unit[:100]), packed(unit[100:])]
    pairs = native.pairs_above(segments, queries, threshold, 10_000, 2, variant)
    got = {(row + 100 * segment, query) for segment, row, query in pairs.tolist()}
    assert got >= {(row, query) for query, row in zip(*np.nonzero(scores >= threshold), strict=True)}
    # Half of the rows would be no selection; in one dimension all are equal.
    assert dimension == 1 or len(got) < 333 * 15 / 2


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(0, 70), st.integers(1, 130), st.integers(1, 100))
def test_rows_that_come_one_by_one_are_scanned_like_all_at_once(seed: int, count: int, dimension: int, k: int) -> None:
    unit, queries = unit_vectors(seed, count, dimension), unit_vectors(seed + 1, 3, dimension)
    rows = native.PackedRows(dimension)
    for row in unit:
        rows.append(*quantize(row[None, :]))
    assert len(rows) == count
    for one, other in zip(rows.nearest(queries, k), packed(unit).nearest(queries, k), strict=True):
        assert one.tolist() == other.tolist()


def test_arrays_of_other_layouts_and_types_are_taken() -> None:
    unit = unit_vectors(4, 40, 12)
    wide = np.zeros((80, 24), dtype=np.float64)
    wide[::2, ::2] = unit
    rows = packed(wide[::2, ::2])
    _, found = rows.nearest(np.asfortranarray(unit[:5]), 1)
    assert found.tolist() == packed(unit).nearest(unit[:5], 1)[1].tolist()


def test_no_rows_no_queries_and_more_neighbours_than_rows() -> None:
    rows = native.PackedRows(3)
    offsets, found = rows.nearest(unit_rows(np.eye(3)), 2)
    assert (offsets.tolist(), found.tolist()) == ([0, 0, 0, 0], [])
    rows.append_vectors(np.zeros((0, 3), dtype=np.float32))
    rows.append_vectors(np.array([[0, 0, 0], [1, 0, 0]], dtype=np.float32))
    assert rows.nearest(np.eye(3, dtype=np.float32), 100)[1].tolist() == [0, 1] * 3
    assert rows.nearest(np.zeros((0, 3), dtype=np.float32), 1)[0].tolist() == [0]
    assert native.pairs_above([], np.eye(3, dtype=np.float32), 0.5, 10).shape == (0, 3)
    assert native.pairs_above([rows], np.eye(3, dtype=np.float32), 0.5, 10).tolist() == [[0, 1, 0]]


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    unit = unit_vectors(5, 4, 8)
    rows = packed(unit)
    broken = unit.copy()
    broken[2, 5] = np.nan
    values, scales, errors = quantize(unit)
    for call, words in [
        (lambda: native.PackedRows(0), "from 1 to"),
        (lambda: rows.append_vectors(unit[:, :7]), r"shape \(n, 8\)"),
        (lambda: rows.append_vectors(unit[0]), r"shape \(n, 8\)"),
        (lambda: rows.append_vectors(broken), "NaN"),
        (lambda: rows.append_vectors(2 * unit), "longer than 1"),
        (lambda: rows.append(values, scales[:3], errors), "scales has shape"),
        (lambda: rows.append(values, scales, np.full(4, np.nan)), "row 0 has scale"),
        (lambda: rows.nearest(unit, 0), "at least one"),
        (lambda: rows.nearest(unit[:, :7], 1), r"shape \(n, 8\)"),
        (lambda: rows.nearest(broken, 1), "query 2 holds NaN"),
        (lambda: rows.nearest(3 * unit, 1), "query 0 has length"),
        (lambda: rows.nearest(unit, 1, threads=0), "threads is 0"),
        (lambda: rows.nearest(unit, 1, variant="mmx"), "no scan 'mmx'"),
        (lambda: native.pairs_above([rows], unit, float("nan"), 1), "threshold is"),
        (lambda: native.pairs_above([rows], unit[:, :3], 0.5, 1), "8 dimensions, the queries 3"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(TypeError):
        rows.append(unit, scales, errors)
    with pytest.raises(OverflowError, match="more than 3 pairs"):
        native.pairs_above([rows], unit, -1.0, 3)
    assert len(rows) == 4


def test_threads_search_while_rows_are_added() -> None:
    unit = unit_vectors(6, 2000, 64)
    rows = packed(unit[:1])
    found: list[bool] = []

    def search() -> None:
        for _ in range(20):
            _, nearest = rows.nearest(unit[:1], 1, threads=2)
            found.append(0 in nearest.tolist())

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for start in range(1, 2000, 100):
        rows.append_vectors(unit[start : start + 100])
    for thread in threads:
        thread.join()
    assert len(found) == 40
    assert all(found)
    assert len(rows) == 2000


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAGE_NATIVE", raising=False)
    assert native_scan() is native
    monkeypatch.setenv("SAGE_NATIVE", "off")
    assert native_scan() is None
