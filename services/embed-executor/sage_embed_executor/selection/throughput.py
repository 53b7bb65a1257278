"""How fast a backend is on a mix of lengths, and with which token budget. Gives up early on what is hopeless."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

from sage_embed_executor.backends.backend import EmbeddingBackend, Runtime
from sage_embed_executor.batching.length_aware_queue import BatchLimits, LengthAwareQueue
from sage_embed_executor.models.tokenizer import TokenIds

BUDGETS = (256, 512, 1024, 2048, 4096)
# How much faster a greater budget must be.
WORTHWHILE = 1.01
# Below this share of the best candidate's speed there is nothing to hope for.
HOPELESS = 0.3
# For one short text; processors that emulate bf16 take seconds for what others do in 3 ms.
PROBE_SECONDS = 0.5
PASSES = 3
# How much longer than it should something may take before that is its own fault.
DISTURBANCE = 3


def give_up_reason(backend: EmbeddingBackend, inputs: Sequence[TokenIds]) -> str:
    """Say why it is not worth measuring a backend, from one short text; empty when it is."""
    shortest = min(inputs, key=len)
    backend.embed([shortest])
    began = time.perf_counter()
    backend.embed([shortest])
    seconds = time.perf_counter() - began
    return f"given up: {seconds:.1f} s for a text of {len(shortest)} tokens" if seconds > PROBE_SECONDS else ""


def tokens_per_second(
    backend: EmbeddingBackend, inputs: Sequence[TokenIds], runtime: Runtime, token_budget: int, best_so_far: float = 0.0
) -> float:
    """Tokens without padding that a backend computes in a second with all streams; 0 where it was given up.

    On processors, seconds are those that this process computed, shared out over its threads: what else runs on the
    machine changes them little, where wall time varied threefold. On a device they are wall time.

    Args:
        best_so_far: of another candidate; far below it there is nothing to measure.
    """
    tokens = sum(map(len, inputs))
    limit = tokens / (best_so_far * HOPELESS) if best_so_far else float("inf")
    batches = _batches(inputs, BatchLimits(token_budget))
    best = float("inf")
    # The first pass also makes the backend's kernels for these shapes; of the others the least disturbed counts.
    for _ in range(PASSES):
        best = min(best, _run(backend, batches, runtime, limit))
        if best >= limit:
            return 0.0
    return tokens / best


def best_token_budget(speeds: Mapping[int, float]) -> int:
    """The least budget that is about as fast as the fastest: others wait for as long as a batch takes."""
    enough = max(speeds.values()) / WORTHWHILE
    return min(budget for budget, speed in speeds.items() if speed >= enough)


def _batches(inputs: Sequence[TokenIds], limits: BatchLimits) -> list[list[TokenIds]]:
    """The batches that the live queue forms when all of these wait."""
    queue: LengthAwareQueue[str, int] = LengthAwareQueue(limits)
    queue.open("all")
    for number, ids in enumerate(inputs):
        queue.add("all", number, len(ids))
    batches = []
    while (batch := queue.take()) is not None:
        batches.append([inputs[number] for number in batch.keys])
    return batches


def _run(backend: EmbeddingBackend, batches: Sequence[list[TokenIds]], runtime: Runtime, limit_seconds: float) -> float:
    """Seconds for all batches with all streams, or infinity once it takes far longer than the limit."""
    waiting = iter(batches)
    lock = threading.Lock()
    failures: list[Exception] = []
    began, computed_before = time.perf_counter(), time.process_time()

    def late() -> bool:
        return time.perf_counter() - began > limit_seconds * DISTURBANCE

    def stream() -> None:
        try:
            while not late():
                with lock:
                    batch = next(waiting, None)
                if batch is None:
                    return
                backend.embed(batch)
        except Exception as error:  # raised again below, where somebody sees it
            failures.append(error)

    threads = [threading.Thread(target=stream) for _ in range(runtime.streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    if late():
        return float("inf")
    if runtime.device != "cpu":
        return time.perf_counter() - began
    return (time.process_time() - computed_before) / (runtime.streams * runtime.threads)
