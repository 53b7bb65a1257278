"""The process that tries one candidate: ``python -m sage_embed_executor.selection.trial_child``, see child_process.

It runs at a low priority, since the model may be served meanwhile. A candidate's framework, its memory, and a crash on
a processor that it does not support, stay in there. It measures the throughput on a mix of lengths, the best token
budget, and the vectors' cosine to the reference, and gives up early on a candidate far below the best so far.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.backend import EmbeddingBackend, Runtime, Vectors
from sage_embed_executor.backends.registry import load_backend, load_for_bulk
from sage_embed_executor.batching.length_aware_queue import BatchLimits, LengthAwareQueue
from sage_embed_executor.child_process import run_child
from sage_embed_executor.exports.export_cache import EXPORT_FAILED, EXPORT_REMOVED
from sage_embed_executor.exports.export_form import Precision
from sage_embed_executor.models.model_folder import read_model_folder
from sage_embed_executor.models.tokenizer import TextTokenizer, TokenIds
from sage_embed_executor.selection.calibration_texts import calibration_texts
from sage_embed_executor.thread_priority import lower_priority

# How much faster a greater budget must be.
MIN_BUDGET_GAIN = 1.01
# Below this share of the best candidate's throughput a candidate is given up.
MIN_SHARE_OF_BEST = 0.3
# Longest time for one short text; processors that emulate bf16 take seconds for what others do in 3 ms.
MAX_PROBE_SECONDS = 0.5
PASSES = 3
# A pass is given up only after this multiple of its limit in wall time, since it makes way for whatever else runs.
WALL_TIME_SLACK = 12
_BATCH = 8


def run_trial(request: dict[str, Any]) -> dict[str, Any]:
    """Load and measure a candidate, and compare its vectors with the reference, which the first candidate writes.

    Args:
        request: see ``backend_selection``. Without token budgets it is not measured, only compared.

    Returns:
        The fields of a Trial.
    """
    folder = read_model_folder(Path(request["folder"]))
    tokenizer = TextTokenizer.load(folder.path)
    inputs = tokenizer.encode(calibration_texts(), folder.max_tokens)
    runtime = Runtime(Precision(request["precision"]), request["streams"], request["threads"], request["device"])
    process = psutil.Process()
    before = process.memory_info().rss
    try:
        backend = load_backend(request["backend"], folder, runtime)
    except ConfigurationError as error:
        transient = error.code in (EXPORT_FAILED, EXPORT_REMOVED)
        return {"problem": error.message, "disk": error.code == EXPORT_FAILED, "transient": transient}
    if problem := give_up_reason(backend, inputs):
        return {"problem": problem}
    budgets, best = request["budgets"], request["best_so_far"]
    # Half of the texts suffice to compare backends, since their lengths are mixed; large budgets need all of them.
    sample = inputs if len(budgets) > 1 else inputs[::2]
    speeds = {budget: tokens_per_second(backend, sample, runtime, budget, best) for budget in budgets}
    budget = best_token_budget(speeds) if speeds else 0
    speed = speeds.get(budget, 0.0)
    if speeds and not speed:
        return {"problem": f"given up: far below {best:.0f} tokens/s"}
    vectors = embed_all(backend, inputs)
    if len(budgets) > 1:
        # The candidate that was chosen: its memory includes the model for bulk work.
        bulk_backend = load_for_bulk(request["backend"], folder, runtime)
        if bulk_backend is not None:
            embed_all(bulk_backend, inputs)
    reference = Path(request["reference"])
    if not reference.exists():
        np.save(reference, vectors)
    return {
        "problem": "",
        "tokens_per_second": round(speed, 1),
        "token_budget": budget,
        "cosine": least_cosine(vectors, np.load(reference)),
        "memory_mb": (process.memory_info().rss - before) // 1_000_000,
    }


def embed_all(backend: EmbeddingBackend, inputs: list[TokenIds]) -> Vectors:
    """Return the vectors of all inputs in their order, shape (len(inputs), d), from small batches of near lengths."""
    order = sorted(range(len(inputs)), key=lambda row: len(inputs[row]))
    vectors = np.empty((len(inputs), backend.dimensions), dtype=np.float32)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        vectors[rows] = backend.embed([inputs[row] for row in rows])
    return vectors


def least_cosine(vectors: Vectors, reference: Vectors) -> float:
    """Return the least cosine of a vector to the reference in the same row; -1 where a number is not finite."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
    cosines = (vectors * reference).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    return round(float(cosines.min()), 6) if np.isfinite(cosines).all() else -1.0


def give_up_reason(backend: EmbeddingBackend, inputs: Sequence[TokenIds]) -> str:
    """Return why a backend is too slow to measure, from one short text; empty when it is not."""
    shortest = min(inputs, key=len)
    backend.embed([shortest])
    began = time.perf_counter()
    backend.embed([shortest])
    seconds = time.perf_counter() - began
    return f"given up: {seconds:.1f} s for a text of {len(shortest)} tokens" if seconds > MAX_PROBE_SECONDS else ""


def tokens_per_second(
    backend: EmbeddingBackend, inputs: Sequence[TokenIds], runtime: Runtime, token_budget: int, best_so_far: float = 0.0
) -> float:
    """Return the tokens a second, without padding, that a backend computes with all streams; 0 when given up.

    On processors, seconds are the processor time of this process divided by its threads: other processes change it
    little, where wall time varied threefold. On a device they are wall time.

    Args:
        best_so_far: tokens a second of another candidate; a backend far below it is given up.
    """
    tokens = sum(map(len, inputs))
    limit = tokens / (best_so_far * MIN_SHARE_OF_BEST) if best_so_far else float("inf")
    batches = _batches(inputs, BatchLimits(token_budget))
    best = float("inf")
    # The first pass also compiles the backend's kernels for these shapes; the fastest pass counts.
    for _ in range(PASSES):
        best = min(best, _run(backend, batches, runtime, limit))
        if best >= limit:
            return 0.0
    return tokens / best


def best_token_budget(speeds: Mapping[int, float]) -> int:
    """Return the least budget that is about as fast as the fastest: other requests wait while a batch is computed."""
    enough = max(speeds.values()) / MIN_BUDGET_GAIN
    return min(budget for budget, speed in speeds.items() if speed >= enough)


def _batches(inputs: Sequence[TokenIds], limits: BatchLimits) -> list[list[TokenIds]]:
    """Return the batches that the live queue forms when all of the inputs are queued."""
    queue: LengthAwareQueue[str, int] = LengthAwareQueue(limits)
    queue.open("all")
    for number, ids in enumerate(inputs):
        queue.add("all", number, len(ids))
    batches = []
    while (batch := queue.take()) is not None:
        batches.append([inputs[number] for number in batch.keys])
    return batches


def _run(backend: EmbeddingBackend, batches: Sequence[list[TokenIds]], runtime: Runtime, limit_seconds: float) -> float:
    """Return the seconds for all batches with all streams; infinity when that takes far longer than the limit."""
    waiting = iter(batches)
    lock = threading.Lock()
    failures: list[Exception] = []
    began, computed_before = time.perf_counter(), time.process_time()

    def processor_seconds() -> float:
        return (time.process_time() - computed_before) / (runtime.streams * runtime.threads)

    def overdue() -> bool:
        if runtime.device == "cpu" and processor_seconds() > limit_seconds:
            return True
        return time.perf_counter() - began > limit_seconds * WALL_TIME_SLACK

    def stream() -> None:
        try:
            while not overdue():
                with lock:
                    batch = next(waiting, None)
                if batch is None:
                    return
                backend.embed(batch)
        except Exception as error:  # raised again on the calling thread, below
            failures.append(error)

    threads = [threading.Thread(target=stream) for _ in range(runtime.streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    if overdue():
        return float("inf")
    if runtime.device != "cpu":
        return time.perf_counter() - began
    return processor_seconds()


if __name__ == "__main__":
    # The model is served meanwhile, and speeds are counted in processor time.
    lower_priority()
    run_child(run_trial)
