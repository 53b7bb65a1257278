"""What ``sage bench native`` measures: exact search and the similarity join, beside others in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from sage_benchmark.native import join_opponents, scan_opponents
from sage_kernel.event_time.join_sides import JoinColumns
from sage_kernel.event_time.similarity_join import SimilarityJoin, VectorSide
from sage_kernel.schema import TIMESTAMP
from sage_libs.quantization import Floats, quantize, unit_rows
from sage_libs.vector_pairs import PairSearch

OURS = "native"
_NEAREST = 10
_BATCHES_OF_QUERIES = (1, 64)
_THRESHOLD = 0.8
_MICRO_BATCH = 64
# One record in so many of the right stream is like one of the left.
_ALIKE_EVERY = 50
_STEP_US = 1_000


@dataclass(frozen=True)
class NativePlan:
    """What is measured.

    Attributes:
        vectors: how many are searched.
        records: of each stream of the join.
        dimension: numbers of a vector.
        repetitions: of each measurement; the best counts, since other load only adds.
        seed: of the vectors.
    """

    vectors: int = 100_000
    records: int = 10_000
    dimension: int = 384
    repetitions: int = 7
    seed: int = 7


class Timing(NamedTuple):
    """Of one call: by the clock, and of all its threads together."""

    wall_ms: float
    cpu_ms: float


@dataclass(frozen=True)
class Row:
    """One way to do one thing. ``exactness`` is the share of the right results that it found."""

    measure: str
    opponent: str
    wall_ms: float
    cpu_ms: float
    exactness: float


@dataclass(frozen=True)
class NativeBar:
    """A measured value beside its bar."""

    name: str
    value: float
    bar: float
    unit: str
    at_most: bool

    @property
    def is_reached(self) -> bool:
        """Whether the bar is reached."""
        return self.value <= self.bar if self.at_most else self.value >= self.bar


@dataclass
class NativeResult:
    """Measurements, bars, and which opponents are not installed here."""

    rows: list[Row] = field(default_factory=list)
    bars: list[NativeBar] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        bars = [{**asdict(bar), "reached": bar.is_reached} for bar in self.bars]
        return {"rows": [asdict(row) for row in self.rows], "bars": bars, "absent": self.absent}


def run(plan: NativePlan, on_step: Callable[[str], None]) -> NativeResult:
    """Measure everything. ``on_step`` is told what is measured next."""
    result = NativeResult()
    _measure_search(plan, result, on_step)
    _measure_join(plan, result, on_step)
    result.absent = sorted(set(result.absent))
    return result


def _measure_search(plan: NativePlan, result: NativeResult, on_step: Callable[[str], None]) -> None:
    random = np.random.default_rng(plan.seed)
    unit = unit_rows(random.standard_normal((plan.vectors, plan.dimension), dtype=np.float32))
    asked = unit_rows(random.standard_normal((max(_BATCHES_OF_QUERIES), plan.dimension), dtype=np.float32))
    codes = quantize(unit)
    k = min(_NEAREST, plan.vectors)
    scores = asked.astype(np.float64) @ unit.T.astype(np.float64)
    right = [set(row.tolist()) for row in np.argpartition(scores, -k, axis=1)[:, -k:]]
    finders = _made(scan_opponents.OPPONENTS, result, lambda make: make(unit, codes))
    for count in _BATCHES_OF_QUERIES:
        on_step(f"searching {plan.vectors:,} vectors for {count}")
        measure = f"top {k} of {plan.vectors:,} × {plan.dimension}, {count} queries"
        for name, find in finders.items():
            queries = asked[:count]
            found = [set(np.asarray(rows).tolist()) for rows in find(queries, k)]
            timing = _timed(lambda find=find, queries=queries: find(queries, k), plan.repetitions)  # type: ignore[misc]
            recall = sum(len(one & other) for one, other in zip(found, right, strict=False)) / (k * count)
            result.rows.append(Row(measure, name, *timing, recall))
        _compare(result, measure, 2.0 if count == 1 else 25.0, dict.fromkeys(finders, 1.0) | {"numkong": 1.5})


def _measure_join(plan: NativePlan, result: NativeResult, on_step: Callable[[str], None]) -> None:
    random = np.random.default_rng(plan.seed)
    left, right = (random.standard_normal((plan.records, plan.dimension), dtype=np.float32) for _ in range(2))
    noise = 0.4 * random.standard_normal(left[::_ALIKE_EVERY].shape, dtype=np.float32)
    right[::_ALIKE_EVERY] = left[::_ALIKE_EVERY] + noise
    ours, theirs = unit_rows(left).astype(np.float64), unit_rows(right).astype(np.float64)
    expected: set[tuple[int, int]] = set()
    for start in range(0, plan.records, 1000):
        rows, others = np.nonzero(np.round(ours[start : start + 1000] @ theirs.T, 6) >= _THRESHOLD)
        expected.update(zip((rows + start).tolist(), others.tolist(), strict=True))
    batches = list(zip(_batches(left), _batches(right), strict=True))
    measure = f"window_join of {plan.records:,} × {plan.dimension}, at {_THRESHOLD}, in {_MICRO_BATCH}s"
    for name, search in _made(join_opponents.OPPONENTS, result, lambda make: make()).items():
        on_step(f"joining {plan.records:,} records, {name}")
        found = _joined(search, batches)
        timing = _timed(lambda search=search: _joined(search, batches), max(1, plan.repetitions // 2))  # type: ignore[misc]
        exactness = len(found & expected) / len(found | expected) if expected else float(not found)
        result.rows.append(Row(measure, name, *timing, exactness))
    _compare(result, measure, None, {"numpy": 5.0, "numkong": 2.0})


def _joined(search: PairSearch, batches: Sequence[tuple[pl.DataFrame, pl.DataFrame]]) -> set[tuple[int, int]]:
    """Join two streams that are near in time, and return the pairs."""
    side = VectorSide("vector", (), pl.col("ts").to_physical(), "ts")
    columns = JoinColumns((), (), {"ts": "ts_right", "n": "n_right", "vector": "vector_right"}, {})
    span = 2 * _STEP_US * _MICRO_BATCH * len(batches)
    join = SimilarityJoin(
        columns, (side, side), -span, span, _THRESHOLD,
        best=None, similarity="similarity", max_rows=1_000_000, search=search,
    )  # fmt: skip
    pairs: set[tuple[int, int]] = set()
    for batch in batches:
        for index, frame in enumerate(batch):
            for emission in join.on_batch(frame, index):
                pairs.update(emission.frame.select("n", "n_right").rows())
    return pairs


def _batches(vectors: Floats) -> list[pl.DataFrame]:
    numbers = np.arange(len(vectors))
    frame = pl.DataFrame(
        {"ts": pl.Series(numbers * _STEP_US).cast(TIMESTAMP), "n": numbers, "vector": vectors},
        schema_overrides={"vector": pl.List(pl.Float32)},
    )
    return [frame[start : start + _MICRO_BATCH] for start in range(0, frame.height, _MICRO_BATCH)]


def _made(makers: dict[str, Any], result: NativeResult, make: Callable[[Any], Any]) -> dict[str, Any]:
    made = {}
    for name, maker in makers.items():
        try:
            made[name] = make(maker)
        except ImportError:
            result.absent.append(name)
    return made


def _compare(result: NativeResult, measure: str, wall_ms: float | None, factors: dict[str, float]) -> None:
    """Add the bars of a measure: our time, our exactness, and how many times as fast as the others we are."""
    rows = {row.opponent: row for row in result.rows if row.measure == measure}
    ours = rows.get(OURS)
    if ours is None:
        return
    if wall_ms is not None:
        result.bars.append(NativeBar(measure, ours.wall_ms, wall_ms, "ms", at_most=True))
    result.bars.append(NativeBar(f"{measure}, right results", ours.exactness, 1.0, "", at_most=False))
    for name, factor in factors.items():
        if name in rows and name != OURS:
            # By CPU time: other load on the machine weighs on both alike.
            ratio = rows[name].cpu_ms / ours.cpu_ms
            result.bars.append(NativeBar(f"{measure}, CPU of {name} ÷ ours", ratio, factor, "", at_most=False))


def _timed(call: Callable[[], object], repetitions: int) -> Timing:
    walls, cpus = [], []
    for _ in range(repetitions):
        began, spent = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - began)
        cpus.append(time.process_time() - spent)
    return Timing(1e3 * min(walls), 1e3 * min(cpus))
