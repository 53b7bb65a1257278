from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import numpy as np
import pytest
from fixtures.manual_clock import ManualClock
from prometheus_client import CollectorRegistry

from sage_common.errors import EngineFailedError, UnavailableError
from sage_embed_executor.backends.backend import Vectors
from sage_embed_executor.batching.embedding_executor import EmbeddingExecutor
from sage_embed_executor.batching.length_aware_queue import BatchLimits
from sage_embed_executor.batching.vector_lru import VectorLru
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.tokenizer import TokenIds

Rows = list[list[int]]
LIMITS = BatchLimits(token_budget=64, max_padding_share=0.25)


def ids(*rows: list[int]) -> list[TokenIds]:
    return [np.array(row, dtype=np.int32) for row in rows]


def expected(rows: Rows) -> Vectors:
    return np.array([[sum(row), len(row)] for row in rows], dtype=np.float32)


class GatedBackend:
    """Computes the sum and the length of each row, one batch at a time for each ``release``."""

    dimensions = 2
    description = "gated"

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._gate = threading.Semaphore(0)
        self.started: asyncio.Queue[Rows] = asyncio.Queue()
        self.batches: list[Rows] = []
        self.error: Exception | None = None

    def embed(self, batch: Sequence[TokenIds]) -> Vectors:
        rows = [row.tolist() for row in batch]
        self.batches.append(rows)
        self._loop.call_soon_threadsafe(self.started.put_nowait, rows)
        assert self._gate.acquire(timeout=30), "the test never released this batch"
        if self.error is not None:
            raise self.error
        return expected(rows)

    def release(self, batches: int = 1) -> None:
        self._gate.release(batches)


class Bench:
    """An executor over a gated backend, with what a test looks at."""

    def __init__(self, streams: int, limits: BatchLimits, cache_bytes: int) -> None:
        self.backend = GatedBackend()
        self.clock = ManualClock()
        self.registry = CollectorRegistry()
        metrics = EmbedMetrics(self.registry)
        self.executor = EmbeddingExecutor(self.backend, limits, streams, VectorLru(cache_bytes), self.clock, metrics)
        self.executor.start()

    def embed(self, *rows: list[int]) -> asyncio.Task[Vectors]:
        return asyncio.create_task(self.executor.embed(ids(*rows)))

    async def started(self) -> Rows:
        return await asyncio.wait_for(self.backend.started.get(), 10)

    def value(self, name: str) -> float:
        return self.registry.get_sample_value(name) or 0.0


MakeBench = Callable[..., Bench]


@pytest.fixture
async def bench() -> AsyncIterator[MakeBench]:
    made: list[Bench] = []

    def make(streams: int = 1, limits: BatchLimits = LIMITS, cache_bytes: int = 100_000) -> Bench:
        made.append(Bench(streams, limits, cache_bytes))
        return made[-1]

    yield make
    for one in made:
        one.backend.release(1000)
        await one.executor.stop()


async def settle(*tasks: Awaitable[object]) -> None:
    """Let tasks that were just created run up to their first wait."""
    for _ in tasks:
        await asyncio.sleep(0)


async def test_a_text_starts_at_once_while_a_stream_is_idle(bench: MakeBench) -> None:
    b = bench(streams=2)
    first = b.embed([1, 2])
    assert await b.started() == [[1, 2]]
    second = b.embed([3, 4])
    assert await b.started() == [[3, 4]]
    b.backend.release(2)
    assert (await first).tolist() == [[3, 2]]
    assert (await second).tolist() == [[7, 2]]


async def test_texts_that_arrive_while_all_streams_are_busy_share_a_batch(bench: MakeBench) -> None:
    b = bench()
    tasks = [b.embed([0, 9])]
    await b.started()
    tasks += [b.embed([n, n]) for n in range(1, 6)]
    await settle(*tasks)
    b.backend.release()
    assert await b.started() == [[n, n] for n in range(1, 6)]
    b.backend.release()
    assert [(await t).tolist() for t in tasks] == [[[9, 2]], *([[2 * n, 2]] for n in range(1, 6))]


async def test_vectors_come_back_in_the_order_of_the_inputs_whatever_the_batches(bench: MakeBench) -> None:
    b = bench(streams=2, limits=BatchLimits(12, 0.2))
    random = np.random.default_rng(5)
    rows = [random.integers(0, 99, size=size).tolist() for size in random.integers(1, 9, size=60)]
    b.backend.release(1000)
    assert (await b.embed(*rows) == expected(rows)).all()
    assert len(b.backend.batches) > 5
    assert all(len(batch) * max(map(len, batch)) <= 12 for batch in b.backend.batches)


async def test_equal_texts_are_computed_once(bench: MakeBench) -> None:
    b = bench(limits=BatchLimits(64, max_padding_share=0))
    first = b.embed([1, 2], [1, 2], [3])
    assert await b.started() == [[1, 2]]
    second = b.embed([3], [1, 2])
    await settle(second)
    b.backend.release(2)
    assert (await first).tolist() == [[3, 2], [3, 2], [3, 1]]
    assert (await second).tolist() == [[3, 1], [3, 2]]
    assert b.backend.batches == [[[1, 2]], [[3]]]
    assert b.value("sage_embed_coalesced_total") == 3


async def test_a_text_seen_before_is_not_computed_again(bench: MakeBench) -> None:
    b = bench()
    b.backend.release(2)
    await b.embed([1, 2])
    again = await b.embed([1, 2], [5])
    assert again.tolist() == [[3, 2], [5, 1]]
    assert b.backend.batches == [[[1, 2]], [[5]]]
    assert b.value("sage_embed_cache_hits_total") == 1
    assert b.value("sage_embed_texts_total") == 3
    assert b.value("sage_embed_computed_tokens_total") == 3


async def test_without_a_cache_every_text_is_computed(bench: MakeBench) -> None:
    b = bench(cache_bytes=0)
    b.backend.release(2)
    await b.embed([1, 2])
    await b.embed([1, 2])
    assert b.backend.batches == [[[1, 2]], [[1, 2]]]


async def test_cancelling_takes_queued_texts_out(bench: MakeBench) -> None:
    b = bench()
    running = b.embed([1])
    await b.started()
    given_up = b.embed([2], [3], [4])
    kept = b.embed([3])
    await settle(given_up, kept)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert b.value("sage_embed_queued_tokens") == 1
    b.backend.release(2)
    assert (await kept).tolist() == [[3, 1]]
    assert (await running).tolist() == [[1, 1]]
    assert b.backend.batches == [[[1]], [[3]]]


async def test_a_text_given_up_while_it_is_computed_serves_the_next_who_asks(bench: MakeBench) -> None:
    b = bench()
    given_up = b.embed([7, 7])
    await b.started()
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    again = b.embed([7, 7])
    await settle(again)
    b.backend.release()
    assert (await again).tolist() == [[14, 2]]
    assert len(b.backend.batches) == 1


async def test_a_short_request_does_not_wait_for_all_of_a_long_one(bench: MakeBench) -> None:
    b = bench(limits=BatchLimits(1, 0))
    long = b.embed(*([n] for n in range(50)))
    assert await b.started() == [[0]]
    short = b.embed([99])
    wanted_early = b.embed([40])
    await settle(short, wanted_early)
    b.backend.release(3)
    assert (await short).tolist() == [[99, 1]]
    assert (await wanted_early).tolist() == [[40, 1]]
    assert b.backend.batches[:3] == [[[0]], [[99]], [[40]]]
    b.backend.release(50)
    assert (await long)[:, 0].tolist() == list(range(50))
    assert len(b.backend.batches) == 51


async def test_a_failing_batch_fails_its_own_requests_and_asks_for_another_engine(bench: MakeBench) -> None:
    b = bench()
    b.backend.error = RuntimeError("out of memory")
    failing = b.embed([1])
    await b.started()
    b.backend.release()
    with pytest.raises(EngineFailedError, match="RuntimeError: out of memory") as caught:
        await failing
    assert caught.value.retryable
    b.backend.error = None
    b.backend.release()
    assert (await b.embed([1])).tolist() == [[1, 1]]


async def test_what_else_a_failed_request_wanted_is_not_computed(bench: MakeBench) -> None:
    b = bench(limits=BatchLimits(1, 0))
    b.backend.error = RuntimeError("odd")
    failing = b.embed([1], [2], [3])
    await b.started()
    b.backend.release()
    with pytest.raises(EngineFailedError):
        await failing
    b.backend.error = None
    b.backend.release(2)
    assert (await b.embed([3])).tolist() == [[3, 1]]
    assert b.backend.batches[-1] == [[3]]
    assert b.value("sage_embed_queued_tokens") == 0


async def test_stopping_ends_those_who_wait(bench: MakeBench) -> None:
    b = bench()
    running = b.embed([1])
    assert await b.started() == [[1]]
    waiting = b.embed([2, 2])
    await settle(waiting)
    stopping = asyncio.create_task(b.executor.stop())
    await settle(stopping)
    b.backend.release()
    await stopping
    assert (await running).tolist() == [[1, 1]]
    with pytest.raises(UnavailableError, match="was stopped"):
        await waiting
    with pytest.raises(UnavailableError, match="is stopping"):
        await b.embed([3])
