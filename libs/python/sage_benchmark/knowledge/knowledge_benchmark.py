"""What ``sage bench kb`` measures: ingest, re-ingest, search, chunking, and how often the answer is found."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sage_benchmark.knowledge.knowledge_result import KnowledgeFigure, KnowledgeResult
from sage_benchmark.knowledge.labelled_questions import LabelledQuestion
from sage_benchmark.knowledge.labelled_sets import LabelledSet
from sage_benchmark.knowledge.measured_quality import measure_quality
from sage_benchmark.knowledge.still_models import StillModels
from sage_kernel.model_port import ModelPort
from sage_libs.quantization import Floats, quantize, unit_rows
from sage_libs.token_chunking import token_chunks
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.ingest import ingest
from sage_middleware.knowledge.tokenizers import exact_tokenizer, token_starts_of
from sage_middleware.knowledge.vector_scan import FusedScan, VectorScan, best_scan, numkong_scan, numpy_scan

_DIMENSION = 384
_NEAREST = 10
_UNCHANGED_FILES = 1_000
_CHUNKED_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class KnowledgePlan:
    """What is measured.

    Attributes:
        folder: documents that are ingested.
        questions: labelled, about them; empty measures no quality.
        sets: further documents with questions of their own; quality is measured over all, by split.
        generating_model: whose answers are measured, too; None for none.
        vectors: how many are searched.
        queries: how many searches are timed.
        seed: of vectors and texts.
    """

    folder: Path
    questions: Sequence[LabelledQuestion]
    sets: Sequence[LabelledSet] = ()
    generating_model: str | None = None
    vectors: int = 100_000
    queries: int = 20
    seed: int = 7


async def run(plan: KnowledgePlan, models: ModelPort, on_step: Callable[[str], None]) -> KnowledgeResult:
    """Measure everything. ``on_step`` is told what is measured next."""
    result = KnowledgeResult()
    with TemporaryDirectory(prefix="sage-bench-kb-") as work:
        on_step(f"ingesting {plan.folder}")
        with Collection.create(Path(work) / "docs.kb") as collection:
            await _measure_ingest(plan, collection, models, result)
        own = [LabelledSet("documents", plan.folder, ("**/*",), tuple(plan.questions))] if plan.questions else []
        await measure_quality([*own, *plan.sets], Path(work), models, plan.generating_model, result, on_step)
        on_step(f"ingesting {_UNCHANGED_FILES} unchanged files")
        await _measure_unchanged(Path(work), result)
    on_step("cutting text into chunks")
    await asyncio.to_thread(_measure_chunker, plan, result)
    on_step(f"searching {plan.vectors} vectors")
    await asyncio.to_thread(_measure_scans, plan, result)
    return result


async def _measure_ingest(
    plan: KnowledgePlan, collection: Collection, models: ModelPort, result: KnowledgeResult
) -> None:
    report = await ingest(collection, plan.folder, models)
    outside = 1 - report.embed_seconds / report.seconds
    result.figures += [
        KnowledgeFigure("ingest", report.chunks / report.seconds, "passages/s"),
        KnowledgeFigure("ingest outside the embedder", 100 * outside, "%", 10.0),
    ]


async def _measure_unchanged(work: Path, result: KnowledgeResult) -> None:
    folder = work / "unchanged"
    await asyncio.to_thread(_write_documents, folder)
    models = StillModels(_DIMENSION)
    with Collection.create(work / "unchanged.kb") as collection:
        await ingest(collection, folder, models)
        again = await ingest(collection, folder, models)
    result.figures.append(KnowledgeFigure(f"re-ingest of {_UNCHANGED_FILES} unchanged files", again.seconds, "s", 1.0))


def _write_documents(folder: Path) -> None:
    folder.mkdir()
    for number in range(_UNCHANGED_FILES):
        (folder / f"{number}.md").write_text(f"# Document {number}\n\nIt says {number}.\n", encoding="utf-8")


def _measure_chunker(plan: KnowledgePlan, result: KnowledgeResult) -> None:
    files = sorted(plan.folder.rglob("*.md"))
    text = "\n\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)[:_CHUNKED_CHARACTERS]
    starts, tokenizer = token_starts_of("all-MiniLM-L6-v2")
    if not text or tokenizer == "characters":
        return
    alone = _best_seconds(lambda: starts(text))
    chunked = _best_seconds(lambda: token_chunks(text, ".md", 120, starts))
    if find_spec("semchunk") is not None:
        other = _best_seconds(lambda: _semchunked(text), repetitions=1)
        result.figures.append(KnowledgeFigure("chunker ÷ semchunk", other / chunked, "", 2.5, at_most=False))
    megabytes = len(text.encode("utf-8")) / 1e6
    result.figures += [
        KnowledgeFigure("chunker", megabytes / chunked, "MB/s"),
        KnowledgeFigure("chunker ÷ the tokenizer alone", alone / chunked, "", 0.5, at_most=False),
    ]


def _semchunked(text: str) -> None:
    import semchunk

    tokenizer = exact_tokenizer("all-MiniLM-L6-v2")
    assert tokenizer is not None
    semchunk.chunkerify(lambda part: len(tokenizer.encode(part, add_special_tokens=False).ids), 120)(text)


def _measure_scans(plan: KnowledgePlan, result: KnowledgeResult) -> None:
    random = np.random.default_rng(plan.seed)
    unit = unit_rows(random.standard_normal((plan.vectors, _DIMENSION), dtype=np.float32))
    queries = unit_rows(random.standard_normal((plan.queries, _DIMENSION), dtype=np.float32))
    codes = quantize(unit)
    name = f"exact top {_NEAREST} of {plan.vectors:,} × {_DIMENSION}"
    used = best_scan(codes).name
    for make in (FusedScan, numkong_scan, numpy_scan):
        try:
            scan = VectorScan(codes, lambda rows: unit[rows], make)
        except ImportError:
            continue
        milliseconds, recall = _timed_scan(scan, unit, queries)
        bar = 2.0 if scan.backend == used else None
        result.figures.append(KnowledgeFigure(f"{name}, {scan.backend} int8", milliseconds, "ms", bar))
        result.figures.append(KnowledgeFigure(f"its recall, {scan.backend}", recall, "", 1.0, at_most=False))
    seconds = [_seconds(lambda query=query: _float_nearest(unit, query)) for query in queries]  # type: ignore[misc]
    result.figures.append(KnowledgeFigure(f"{name}, NumPy float32", 1e3 * statistics.median(seconds), "ms"))


def _timed_scan(scan: VectorScan, unit: Floats, queries: Floats) -> tuple[float, float]:
    scan.nearest(queries[0], _NEAREST)
    times, found = [], 0
    for query in queries:
        began = time.perf_counter()
        nearest = scan.nearest(query, _NEAREST)
        times.append(time.perf_counter() - began)
        found += len(set(nearest.rows.tolist()) & set(_float_nearest(unit, query).tolist()))
    return 1e3 * statistics.median(times), found / (_NEAREST * len(queries))


def _float_nearest(unit: Floats, query: Floats) -> Any:
    scores = unit @ query
    return np.argpartition(scores, -_NEAREST)[-_NEAREST:]


def _best_seconds(call: Callable[[], object], repetitions: int = 3) -> float:
    return min(_seconds(call) for _ in range(repetitions))


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
