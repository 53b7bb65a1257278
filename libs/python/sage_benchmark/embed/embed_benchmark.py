"""The embedding benchmark: one run, one machine, every figure beside the one it is compared with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from sage_benchmark.embed.mesh_measurements import (
    ALLOWED_GROWTH_MB,
    SINGLE_CONNECTIONS,
    TEXTS_PER_REQUEST,
    BulkInterference,
    IdleLatency,
    MeasuredMesh,
    SteadyMemory,
    bulk_interference,
    check_backend,
    computed_of_duplicates,
    embed,
    idle_latency,
    rate_of_requests,
    rate_of_singles,
    steady_memory,
)
from sage_benchmark.embed.programs import infinity, model_folder, offline_plan, sentence_transformers
from sage_benchmark.embed.similarity import cosines, read_sts, spearman
from sage_benchmark.embed.texts import embedding_requests, mixed_texts
from sage_benchmark.isolated_mesh import isolated_mesh
from sage_benchmark.load.closed_loop import run_closed_loop
from sage_benchmark.report.bars import Bar
from sage_common.errors import UnavailableError
from sage_common.ports import free_port
from sage_platform.process_tuning import allow_many_open_files

MODEL = "all-MiniLM-L6-v2"
Progress = Callable[[str], None]
# Of these vectors the sum of all steps in fp32 may differ so much, whatever shares their batch.
FP32_TOLERANCE = 1e-5


@dataclass(frozen=True)
class EmbedPlan:
    """How much to measure.

    Attributes:
        backend: of the executor.
        precision: of the executor.
        memory_minutes: of mixed shapes; 0 leaves the figure out.
        memory_round_texts: texts between two looks at the memory.
        sts: ``stsbenchmark.tsv.gz``; None leaves the figure out.
        peers: whether to measure the others as well.
        infinity_python: interpreter of an environment with infinity-emb; None leaves that peer out.
    """

    texts: int = 1024
    repetitions: int = 3
    idle_requests: int = 200
    interactive_requests: int = 300
    bulk_texts: int = 100_000
    memory_minutes: float = 10.0
    memory_round_texts: int = 128
    seed: int = 7
    backend: str = "auto"
    precision: str = "auto"
    sts: Path | None = None
    sts_pairs: int = 0
    peers: bool = True
    infinity_python: Path | None = None


def quick_plan(plan: EmbedPlan) -> EmbedPlan:
    """The same in about a minute: too little for figures to trust, enough to see that everything works."""
    values = {name: getattr(plan, name) for name in ("seed", "backend", "precision", "sts", "peers", "infinity_python")}
    return EmbedPlan(
        texts=48,
        repetitions=1,
        idle_requests=20,
        interactive_requests=20,
        bulk_texts=1_000,
        memory_minutes=0.05,
        memory_round_texts=32,
        sts_pairs=64,
        **values,
    )


@dataclass
class EmbedResult:
    """Everything that was measured. Rates are texts a second, medians of the repetitions.

    Attributes:
        left_out: what was not measured, and why.
    """

    plan: EmbedPlan
    offline: dict[str, Any] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    runs: dict[str, list[float]] = field(default_factory=dict)
    idle: IdleLatency | None = None
    duplicates_computed: float | None = None
    interference: BulkInterference | None = None
    memory: SteadyMemory | None = None
    vectors: dict[str, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        record = asdict(self)
        for bar, item in zip(self.bars, record["bars"], strict=True):
            item["reached"] = bar.reached
        record["plan"] = {
            name: str(value) if isinstance(value, Path) else value for name, value in record["plan"].items()
        }
        return record


def run(plan: EmbedPlan, progress: Progress) -> EmbedResult:
    """Measure everything, one after the other, and take down what was started."""
    allow_many_open_files()
    result = EmbedResult(plan)
    texts = mixed_texts(plan.texts, plan.seed)
    with tempfile.TemporaryDirectory(prefix="sage-bench-") as scratch:
        directory = Path(scratch)
        settings = {
            "SAGE_EMBED_EXECUTOR_BACKEND": plan.backend,
            "SAGE_EMBED_EXECUTOR_PRECISION": plan.precision,
        }
        progress("the best offline plan")
        result.offline = offline_plan(texts, settings, plan.repetitions)
        result.rates["offline"] = result.offline["texts_per_second"]
        _through_the_mesh(plan, texts, directory, settings, result, progress)
        _peers(plan, texts, directory, result, progress)
    result.bars = _bars(result)
    return result


def _through_the_mesh(
    plan: EmbedPlan,
    texts: Sequence[str],
    directory: Path,
    settings: dict[str, str],
    result: EmbedResult,
    progress: Progress,
) -> None:
    port = free_port()
    settings = {
        **settings,
        "SAGE_EMBED_EXECUTOR_METRICS_PORT": str(port),
        # Every repetition sends the same texts, and each is to be computed.
        "SAGE_EMBED_EXECUTOR_CACHE_BYTES": "0",
    }
    replicas = {"llm-coordinator": 0, "dataflow-worker": 0}
    progress("starting a mesh")
    with isolated_mesh(directory / "mesh", replicas=replicas, settings=settings) as running:
        mesh = MeasuredMesh(running.gateway_url, f"http://127.0.0.1:{port}/metrics", MODEL)
        process = running.process("embed-executor")
        check_backend(mesh, str(result.offline["backend"]))
        rate_of_requests(mesh, texts[: 8 * TEXTS_PER_REQUEST])
        for name, measure in (("requests of 32", rate_of_requests), ("single texts", rate_of_singles)):
            progress(f"{plan.texts} texts through the gateway, {name}")
            result.runs[name] = [measure(mesh, texts) for _ in range(plan.repetitions)]
            result.rates[name] = sorted(result.runs[name])[plan.repetitions // 2]
        progress("single texts on the idle system")
        result.idle = idle_latency(mesh, plan.idle_requests, plan.seed)
        progress("equal texts in flight")
        result.duplicates_computed = computed_of_duplicates(mesh, plan.seed + 1)
        progress("interactive requests beside a bulk job")
        result.interference = bulk_interference(mesh, plan.interactive_requests, plan.bulk_texts, plan.seed + 2)
        progress("vectors")
        _vectors(plan, texts, mesh, directory, result)
        if plan.memory_minutes:
            progress(f"memory, {plan.memory_minutes:g} minutes")
            result.memory = steady_memory(mesh, process, plan.memory_minutes, plan.memory_round_texts, plan.seed + 3)
        else:
            result.left_out.append("memory: 0 minutes were asked for")


def _vectors(plan: EmbedPlan, texts: Sequence[str], mesh: MeasuredMesh, directory: Path, result: EmbedResult) -> None:
    pairs = read_sts(plan.sts, plan.sts_pairs) if plan.sts is not None else None
    sentences = [*pairs.first, *pairs.second] if pairs else []
    every = [*texts, *sentences]
    figures, reference = sentence_transformers(every, model_folder(MODEL), 1, directory / "reference.npy")
    ours = embed(mesh, every)
    alike = cosines(ours, reference)
    result.vectors["largest_difference"] = float(abs(ours - reference).max())
    result.vectors["least_cosine"] = float(alike.min())
    result.vectors["reference_texts_per_second"] = figures["texts_per_second"]
    if pairs is None:
        result.left_out.append("STS-B: name the file with --sts")
        return
    start, count = len(texts), len(pairs.first)
    for name, vectors in (("reference", reference), ("ours", ours)):
        first, second = vectors[start : start + count], vectors[start + count :]
        result.vectors[f"sts_spearman_{name}"] = 100 * spearman(cosines(first, second), pairs.scores)


def _peers(plan: EmbedPlan, texts: Sequence[str], directory: Path, result: EmbedResult, progress: Progress) -> None:
    if not plan.peers:
        result.left_out.append("peers: --peers measures them")
        return
    progress("sentence-transformers")
    folder = model_folder(MODEL)
    figures, _ = sentence_transformers(texts, folder, plan.repetitions, directory / "peer.npy")
    result.rates["sentence-transformers fp32"] = figures["texts_per_second"]
    if plan.infinity_python is None:
        result.left_out.append("infinity-emb: name an interpreter that has it with --infinity-python")
        return
    progress("infinity-emb")
    try:
        with infinity(plan.infinity_python, folder, directory / "infinity.log") as url:
            requests = embedding_requests(url, "model", texts, TEXTS_PER_REQUEST)
            uvloop.run(run_closed_loop(url, requests[:4], concurrency=4))
            runs = [
                len(texts) / uvloop.run(run_closed_loop(url, requests, concurrency=len(requests))).seconds
                for _ in range(plan.repetitions)
            ]
    except (UnavailableError, OSError, RuntimeError) as error:
        result.left_out.append(f"infinity-emb: {error}")
        return
    result.runs["infinity-emb"] = runs
    result.rates["infinity-emb"] = sorted(runs)[len(runs) // 2]


def _bars(result: EmbedResult) -> list[Bar]:
    rates, offline = result.rates, result.rates["offline"]
    ours = rates["requests of 32"]
    bars = [
        Bar("requests of 32 texts, to the best offline plan", ours / offline, 0.95, "×", at_most=False),
        Bar(
            f"single texts over {SINGLE_CONNECTIONS} connections, to the best offline plan",
            rates["single texts"] / offline,
            0.8,
            "×",
            at_most=False,
        ),
    ]
    for peer, bar in (("sentence-transformers fp32", 4.0), ("infinity-emb", 2.0)):
        if peer in rates:
            bars.append(Bar(f"requests of 32 texts, to {peer}", ours / rates[peer], bar, "×", at_most=False))
    if result.idle is not None:
        bars.append(Bar("single short text, idle, p50 beside inference", result.idle.added_p50_ms, 2.0, "ms"))
    if result.duplicates_computed is not None:
        bars.append(Bar("computations of one text asked for 64 times at once", result.duplicates_computed, 1.0))
    if result.interference is not None:
        ratio = result.interference.beside_p99_ms / result.interference.alone_p99_ms
        bars.append(Bar("interactive p99 beside a bulk job, to its p99 alone", ratio, 1.5, "×"))
    if "fp32" in str(result.offline.get("backend", "")):
        bars.append(Bar("largest difference to fp32", result.vectors["largest_difference"], FP32_TOLERANCE))
    else:
        bars.append(Bar("least cosine to fp32", result.vectors["least_cosine"], 0.99, at_most=False))
    if "sts_spearman_ours" in result.vectors:
        lost = result.vectors["sts_spearman_reference"] - result.vectors["sts_spearman_ours"]
        bars.append(Bar("STS-B Spearman lost against fp32", lost, 0.5, "points"))
    if result.memory is not None:
        bars.append(Bar("memory growth over mixed shapes", result.memory.growth_mb, ALLOWED_GROWTH_MB, "MB"))
    return bars
