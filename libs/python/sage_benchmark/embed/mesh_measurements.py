"""What the mesh does with embeddings, measured at its HTTP port."""

from __future__ import annotations

import asyncio
import base64
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
import psutil
import uvloop

from sage_benchmark.embed.texts import embedding_requests, mixed_texts, short_texts
from sage_benchmark.http_client import HttpResponse, fetch
from sage_benchmark.load.closed_loop import percentile, run_closed_loop

Vectors = npt.NDArray[np.float32]
TEXTS_PER_REQUEST = 32
# All texts of the plan at once, as the requests of 32 are.
SINGLE_CONNECTIONS = 1024
BULK_TEXTS_PER_REQUEST = 512
BULK_CONNECTIONS = 4
BULK_HEADERS = (("x-request-priority", "background"),)
DUPLICATES = 64


@dataclass(frozen=True)
class MeasuredMesh:
    """A mesh to measure.

    Attributes:
        url: of the gateway.
        metrics_url: of the executor's metrics.
        model: name to ask for.
    """

    url: str
    metrics_url: str
    model: str


def check_backend(mesh: MeasuredMesh, expected: str) -> None:
    """Raise RuntimeError unless the mesh computes as the offline plan did: a ratio of the two would be of backends.

    torch's linear layers may be of another kind: each process measures them, and on a busy machine two that are nearly
    as fast come out either way.
    """
    models = orjson.loads(fetch(f"{mesh.url}/v1/models"))["data"]
    description = next((str(model.get("description", "")) for model in models if model["id"] == mesh.model), "")
    if expected.removesuffix(", plain").removesuffix(", oneDNN") not in description:
        raise RuntimeError(f"the mesh runs {mesh.model!r} as {description!r}, the offline plan as {expected!r}")


def rate_of_requests(mesh: MeasuredMesh, texts: Sequence[str]) -> float:
    """Texts a second as requests of 32, all on the way at once."""
    requests = embedding_requests(mesh.url, mesh.model, texts, TEXTS_PER_REQUEST)
    load = uvloop.run(run_closed_loop(mesh.url, requests, concurrency=len(requests)))
    return len(texts) / load.seconds


def rate_of_singles(mesh: MeasuredMesh, texts: Sequence[str]) -> float:
    """Texts a second as requests of one text each, over many connections."""
    load = uvloop.run(
        run_closed_loop(mesh.url, embedding_requests(mesh.url, mesh.model, texts, 1), concurrency=SINGLE_CONNECTIONS)
    )
    return len(texts) / load.seconds


def embed(mesh: MeasuredMesh, texts: Sequence[str]) -> Vectors:
    """The vectors of texts, shape (n, d)."""
    requests = embedding_requests(mesh.url, mesh.model, texts, TEXTS_PER_REQUEST)
    load = uvloop.run(run_closed_loop(mesh.url, requests, concurrency=8, keep_bodies=True))
    rows = [
        np.frombuffer(base64.b64decode(row["embedding"]), dtype="<f4")
        for answer in load.responses
        for row in orjson.loads(answer.body)["data"]
    ]
    return np.array(rows, dtype=np.float32)


@dataclass(frozen=True)
class IdleLatency:
    """Milliseconds of single short texts on an idle system, p50 each: end to end, and inference by the executor."""

    end_to_end_p50_ms: float
    inference_p50_ms: float
    added_p50_ms: float


def idle_latency(mesh: MeasuredMesh, count: int, seed: int) -> IdleLatency:
    """One short text after another."""
    requests = embedding_requests(mesh.url, mesh.model, short_texts(count + 20, seed), 1)
    load = uvloop.run(run_closed_loop(mesh.url, requests, concurrency=1))
    answers = load.responses[20:]
    whole = [answer.seconds * 1e3 for answer in answers]
    inference = [_inference_ms(answer) for answer in answers]
    added = [a - b for a, b in zip(whole, inference, strict=True)]
    return IdleLatency(percentile(whole, 0.5), percentile(inference, 0.5), percentile(added, 0.5))


def _inference_ms(answer: HttpResponse) -> float:
    return int(answer.headers["x-sage-inference-us"]) / 1e3


def computed_of_duplicates(mesh: MeasuredMesh, seed: int) -> float:
    """How often the executor computes one text that 64 requests ask for at the same time."""
    texts = mixed_texts(2 * TEXTS_PER_REQUEST, seed)
    blocking = embedding_requests(mesh.url, mesh.model, texts, TEXTS_PER_REQUEST)
    same = embedding_requests(mesh.url, mesh.model, ["the one text that everybody wants " * 20] * DUPLICATES, 1)
    before = _computed_texts(mesh)

    async def run() -> None:
        # The streams are busy while the duplicates arrive, so that these are in flight together.
        blockers = asyncio.create_task(run_closed_loop(mesh.url, blocking, concurrency=len(blocking)))
        await run_closed_loop(mesh.url, same, concurrency=DUPLICATES)
        await blockers

    uvloop.run(run())
    return _computed_texts(mesh) - before - len(texts)


def _computed_texts(mesh: MeasuredMesh) -> float:
    text = fetch(mesh.metrics_url).decode()
    found = re.search(r"^sage_embed_batch_texts_sum (\S+)$", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{mesh.metrics_url} has no sage_embed_batch_texts_sum")
    return float(found.group(1))


@dataclass(frozen=True)
class BulkInterference:
    """Interactive latency in milliseconds alone and while a bulk job runs.

    Attributes:
        bulk_texts: texts of the job that were answered meanwhile.
        bulk_texts_per_second: their rate.
    """

    alone_p50_ms: float
    alone_p99_ms: float
    beside_p50_ms: float
    beside_p99_ms: float
    requests: int
    bulk_texts: int
    bulk_texts_per_second: float
    alone_ms: tuple[float, ...]
    beside_ms: tuple[float, ...]


def bulk_interference(mesh: MeasuredMesh, requests: int, bulk_texts: int, seed: int) -> BulkInterference:
    """Single short texts, 20 ms apart, first alone and then beside a job of ``bulk_texts`` texts.

    The job is given up once the interactive requests are done, unless it was done before; then the figure would be of
    an idle system.

    Raises:
        RuntimeError: the job was done before the interactive requests.
    """
    alone_requests = embedding_requests(mesh.url, mesh.model, short_texts(requests, seed), 1)
    beside_requests = embedding_requests(mesh.url, mesh.model, short_texts(requests, seed + 1), 1)
    bulk_requests = embedding_requests(
        mesh.url, mesh.model, mixed_texts(bulk_texts, seed + 2), BULK_TEXTS_PER_REQUEST, BULK_HEADERS
    )

    async def run() -> BulkInterference:
        alone = await run_closed_loop(mesh.url, alone_requests, concurrency=1, pause_seconds=0.02)
        stop = asyncio.Event()
        job = asyncio.create_task(run_closed_loop(mesh.url, bulk_requests, concurrency=BULK_CONNECTIONS, stop=stop))
        await asyncio.sleep(1.0)  # until the job fills the streams
        beside = await run_closed_loop(mesh.url, beside_requests, concurrency=1, pause_seconds=0.02)
        if job.done():
            raise RuntimeError(f"the job of {bulk_texts} texts ended before the interactive requests; give it more")
        stop.set()
        bulk = await job
        first, second = ([answer.seconds * 1e3 for answer in load.responses] for load in (alone, beside))
        answered = len(bulk.responses) * BULK_TEXTS_PER_REQUEST
        return BulkInterference(
            percentile(first, 0.5),
            percentile(first, 0.99),
            percentile(second, 0.5),
            percentile(second, 0.99),
            requests,
            min(answered, bulk_texts),
            min(answered, bulk_texts) / bulk.seconds,
            tuple(first),
            tuple(second),
        )

    return uvloop.run(run())


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


def steady_memory(
    mesh: MeasuredMesh, process: psutil.Process, minutes: float, round_texts: int, seed: int
) -> SteadyMemory:
    """Send mixed texts, ``round_texts`` a round, in requests of 1 to 64 for ``minutes``, eight rounds at least."""
    random_ = random.Random(seed)
    samples: list[float] = []
    sent = 0
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until or len(samples) < 8:
        texts = mixed_texts(round_texts, random_.getrandbits(32))
        requests = embedding_requests(mesh.url, mesh.model, texts, random_.choice((1, 3, 8, 17, 32, 64)))
        uvloop.run(run_closed_loop(mesh.url, requests, concurrency=random_.choice((2, 8, 32))))
        sent += len(texts)
        samples.append(process.memory_info().rss / 1e6)
    quarter = max(1, int(len(samples) * WARM_SHARE))
    growth = max(samples[-quarter:]) - max(samples[:quarter])
    return SteadyMemory(minutes, sent, tuple(samples), growth)
