"""``python -m sage_benchmark.embed.offline_plan``: the best that the executor's backend does with all texts at hand.

Reads a JSON list of texts from standard input, computes them in this process without a service around it, sorted by
length and cut into batches, on as many streams as the service would use, for each of several token budgets. Writes one
JSON object to standard output; ``--vectors FILE`` keeps the vectors. It is what ``sage bench embed`` compares with.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson

from sage_common.config import load
from sage_embed_executor.backends.backend import EmbeddingBackend, Vectors
from sage_embed_executor.config import EmbedExecutorSettings
from sage_embed_executor.engines.in_process_engine import available_processors
from sage_embed_executor.engines.model_loader import ModelLoader
from sage_embed_executor.models.tokenizer import TokenIds

BUDGETS = (128, 256, 512, 1024, 2048, 4096)


def sorted_batches(inputs: Sequence[TokenIds], budget: int) -> list[list[int]]:
    """Cut the positions of inputs, longest first, into batches of at most ``budget`` padded tokens."""
    batches: list[list[int]] = []
    for position in sorted(range(len(inputs)), key=lambda p: -len(inputs[p])):
        if batches and len(inputs[batches[-1][0]]) * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches


def run_plan(backend: EmbeddingBackend, inputs: Sequence[TokenIds], budget: int, streams: int) -> tuple[float, Vectors]:
    """Compute all inputs; return the seconds and the vectors, shape (len(inputs), dimensions)."""
    batches = sorted_batches(inputs, budget)
    vectors = np.empty((len(inputs), backend.dimensions), dtype=np.float32)

    def compute(batch: list[int]) -> None:
        vectors[batch] = backend.embed([inputs[position] for position in batch])

    with ThreadPoolExecutor(streams) as pool:
        began = time.perf_counter()
        list(pool.map(compute, batches))
        return time.perf_counter() - began, vectors


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--vectors", default="", help="file for the vectors, as numpy writes them")
    arguments = parser.parse_args()
    settings = load(EmbedExecutorSettings)
    in_process = settings.in_process()
    preference = in_process.backend_preference(available_processors())
    streams = preference.streams
    model = ModelLoader(settings.model, preference, in_process.max_padding_share, threading.Lock()).load()
    folder, tokenizer, backend = model.folder, model.tokenizer, model.backend
    texts = orjson.loads(sys.stdin.buffer.read())
    began = time.perf_counter()
    inputs = tokenizer.encode([folder.default_prompt + text for text in texts], folder.max_tokens)
    tokenize_seconds = time.perf_counter() - began
    run_plan(backend, inputs[: 8 * streams], BUDGETS[0], streams)
    plans = {}
    for budget in BUDGETS:
        seconds = sorted(run_plan(backend, inputs, budget, streams)[0] for _ in range(arguments.repetitions))
        plans[budget] = seconds[len(seconds) // 2]
    best = min(plans, key=lambda budget: plans[budget])
    if arguments.vectors:
        np.save(arguments.vectors, run_plan(backend, inputs, best, streams)[1])
    result = {
        "backend": backend.description,
        "streams": streams,
        "tokens": sum(map(len, inputs)),
        "tokenize_seconds": tokenize_seconds,
        "budget": best,
        # Tokenising belongs to the work; done once, ahead, on one thread.
        "texts_per_second": len(texts) / (plans[best] + tokenize_seconds),
        "by_budget": {str(budget): len(texts) / (seconds + tokenize_seconds) for budget, seconds in plans.items()},
    }
    sys.stdout.buffer.write(orjson.dumps(result) + b"\n")


if __name__ == "__main__":
    main()
