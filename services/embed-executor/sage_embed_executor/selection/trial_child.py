"""The process that tries one candidate: ``python -m sage_embed_executor.selection.trial_child``, see child_process.

A candidate's framework, its memory, and a crash on a processor that it does not know, stay in there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil

from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.backend import EmbeddingBackend, Precision, Runtime, Vectors
from sage_embed_executor.backends.registry import load_backend, load_for_bulk
from sage_embed_executor.child_process import answer_parent
from sage_embed_executor.exports.export_cache import EXPORT_FAILED, EXPORT_REMOVED
from sage_embed_executor.models.model_folder import read_model_folder
from sage_embed_executor.models.tokenizer import TextTokenizer, TokenIds
from sage_embed_executor.selection.calibration_texts import calibration_texts
from sage_embed_executor.selection.throughput import best_token_budget, give_up_reason, tokens_per_second

_BATCH = 8


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Load, measure, and compare with the reference vectors; the first candidate makes them."""
    folder = read_model_folder(Path(request["folder"]))
    tokenizer = TextTokenizer.load(folder.path)
    inputs = tokenizer.encode(calibration_texts(), folder.max_tokens)
    runtime = Runtime(Precision(request["precision"]), request["streams"], request["threads"], request["device"])
    process = psutil.Process()
    before = process.memory_info().rss
    try:
        backend = load_backend(request["backend"], folder, runtime)
    except ConfigurationError as error:
        passing = error.code in (EXPORT_FAILED, EXPORT_REMOVED)
        return {"problem": error.message, "disk": error.code == EXPORT_FAILED, "passing": passing}
    if problem := give_up_reason(backend, inputs):
        return {"problem": problem}
    budgets, best = request["budgets"], request["best_so_far"]
    # To compare backends, every other one: the lengths are mixed all the same. Great batches need more to choose from.
    sample = inputs if len(budgets) > 1 else inputs[::2]
    speeds = {budget: tokens_per_second(backend, sample, runtime, budget, best) for budget in budgets}
    budget = best_token_budget(speeds)
    if not speeds[budget]:
        return {"problem": f"given up: far below {best:.0f} tokens/s"}
    vectors = embed_all(backend, inputs)
    if len(budgets) > 1:
        # The one that was chosen: what bulk work needs belongs to its memory.
        bulk_backend = load_for_bulk(request["backend"], folder, runtime)
        if bulk_backend is not None:
            embed_all(bulk_backend, inputs)
    reference = Path(request["reference"])
    if not reference.exists():
        np.save(reference, vectors)
    return {
        "problem": "",
        "tokens_per_second": round(speeds[budget], 1),
        "token_budget": budget,
        "cosine": least_cosine(vectors, np.load(reference)),
        "memory_mb": (process.memory_info().rss - before) // 1_000_000,
    }


def embed_all(backend: EmbeddingBackend, inputs: list[TokenIds]) -> Vectors:
    """Vectors of all inputs, in their order, from small batches of near lengths."""
    order = sorted(range(len(inputs)), key=lambda row: len(inputs[row]))
    vectors = np.empty((len(inputs), backend.dimensions), dtype=np.float32)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        vectors[rows] = backend.embed([inputs[row] for row in rows])
    return vectors


def least_cosine(vectors: Vectors, reference: Vectors) -> float:
    """The least cosine of a vector to the one in the same row; -1 where a number is not finite."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
    cosines = (vectors * reference).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    return round(float(cosines.min()), 6) if np.isfinite(cosines).all() else -1.0


if __name__ == "__main__":
    answer_parent(work)
