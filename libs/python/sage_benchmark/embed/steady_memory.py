"""Whether the executor's memory stays where it is while the shapes of its batches change."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import psutil
import uvloop

from sage_benchmark.embed.texts import embedding_requests, mixed_texts
from sage_benchmark.embed.through_the_mesh import Mesh
from sage_benchmark.load.closed_loop import run_closed_loop

# After the first quarter of the time every size of batch has been seen; what grows then grows for ever.
WARM_SHARE = 0.25
# Allocators move by this much between two looks.
ALLOWED_GROWTH_MB = 64.0


@dataclass(frozen=True)
class SteadyMemory:
    """Resident memory in MB of 10^6 bytes, sampled after each round of requests.

    Attributes:
        growth_mb: the highest sample of the last quarter above the highest of the first, which is warm-up.
    """

    minutes: float
    texts: int
    samples_mb: tuple[float, ...]
    growth_mb: float


def steady_memory(mesh: Mesh, process: psutil.Process, minutes: float, seed: int) -> SteadyMemory:
    """Send mixed texts in requests of 1 to 64 for so many minutes."""
    random_ = random.Random(seed)
    samples: list[float] = []
    sent = 0
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until or len(samples) < 8:
        texts = mixed_texts(128, random_.getrandbits(32))
        requests = embedding_requests(mesh.url, mesh.model, texts, random_.choice((1, 3, 8, 17, 32, 64)))
        uvloop.run(run_closed_loop(mesh.url, requests, concurrency=random_.choice((2, 8, 32))))
        sent += len(texts)
        samples.append(process.memory_info().rss / 1e6)
    quarter = max(1, int(len(samples) * WARM_SHARE))
    growth = max(samples[-quarter:]) - max(samples[:quarter])
    return SteadyMemory(minutes, sent, tuple(samples), growth)
