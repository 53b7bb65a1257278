"""A slow node slows the source: memory is bounded by records and by bytes, and the event loop stays free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import polars as pl
from fixtures.eventually import eventually

from sage_kernel.builder import Pipeline
from sage_kernel.connectors.collections import MemoryCollections, MemorySink
from sage_kernel.file_access import ANY_FILE
from sage_kernel.operator import AnyOperator, Position, SourceBatch, Split, State
from sage_kernel.run_context import RunContext
from sage_kernel.runtime.element_queue import MAX_QUEUED_BYTES
from sage_kernel.runtime.executor import Execution, ExecutionOptions
from sage_kernel.runtime.progress import NodeCounts
from sage_kernel.spec import PipelineSpec
from sage_kernel.virtual_time import VirtualTime


class CountingSource:
    """Gives out batches for as long as they are taken."""

    def __init__(self, frame: pl.DataFrame, batches: int) -> None:
        self._frame = frame
        self._batches = batches
        self.given = 0

    async def splits(self) -> Sequence[Split]:
        return (None,)

    async def batches(self, split: Split, position: Position) -> AsyncIterator[SourceBatch]:
        for number in range(self._batches):
            self.given += 1
            yield SourceBatch(self._frame, number)


class GatedSink(MemorySink):
    """Takes a batch for each time that it is let, and forgets it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Semaphore(0)
        self.taken = 0

    async def write(self, frame: pl.DataFrame) -> None:
        await self.gate.acquire()
        self.taken += 1

    async def flush(self) -> State:
        return State()


def spec() -> PipelineSpec:
    pipeline = Pipeline("p")
    records = [{"n": 0, "text": ""}]
    pipeline.source(records=records, id="in").filter("n >= 0", id="some").sink("collection:x", id="out")
    return pipeline.build()


def execution(pipeline: PipelineSpec, replaced: Mapping[str, AnyOperator], **options: Any) -> Execution:
    async def refuse(letter: object) -> None:
        raise AssertionError(letter)

    context = RunContext(
        models=None,  # type: ignore[arg-type]
        files=ANY_FILE,
        collections=MemoryCollections(),
        cache_dir=None,
        warn=lambda node, message: None,
        skip=lambda skipped: None,
        dead_letter=refuse,
        now_us=VirtualTime(0).now_us,
        run_id="test",
    )
    counts = {node_id: NodeCounts() for node_id in pipeline.nodes}
    return Execution(pipeline.nodes, "hash", context, counts, ExecutionOptions(replaced=replaced, **options))


async def test_large_documents_fill_a_queue_by_their_bytes() -> None:
    frame = pl.DataFrame({"n": [1], "text": ["x" * (MAX_QUEUED_BYTES // 8)]})
    source, sink = CountingSource(frame, 1000), GatedSink()
    run = execution(spec(), {"in": source, "out": sink}, queue_batches=500)
    running = asyncio.create_task(run.run())
    await eventually(lambda: source.given >= 8)
    for _ in range(200):
        await asyncio.sleep(0)
    # Eight fill the queue, one is with the sink, one may be under way.
    assert source.given <= 10
    running.cancel()
    await asyncio.wait({running})


async def test_a_slow_sink_is_never_sent_more_than_fits() -> None:
    source, sink = CountingSource(pl.DataFrame({"n": range(1000), "text": ["x"] * 1000}), 300), GatedSink()
    run = execution(spec(), {"in": source, "out": sink}, queue_batches=3)
    running = asyncio.create_task(run.run())
    most = 0
    for taken in range(300):
        sink.gate.release()
        await eventually(lambda: sink.taken > taken)  # noqa: B023 - it is awaited here
        most = max(most, source.given - sink.taken)
    assert await asyncio.wait_for(running, 10)
    assert most <= 3 + 2


async def test_long_kernels_leave_the_event_loop_free() -> None:
    class Slow:
        def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
            # A kernel of polars: it computes without the interpreter's lock, as time.sleep does without a core.
            time.sleep(frame.height / 1e6)
            return frame

    pipeline = Pipeline("p")
    first = pipeline.source(records=[{"n": 0, "text": ""}], id="in").filter("n >= 0", id="some")
    first.sink("collection:x", id="out")
    source, sink = CountingSource(pl.DataFrame({"n": range(100_000), "text": ["x"] * 100_000}), 10), GatedSink()
    for _ in range(10):
        sink.gate.release()
    run = execution(pipeline.build(), {"in": source, "some": Slow(), "out": sink})
    running = asyncio.create_task(run.run())
    loop = asyncio.get_running_loop()
    longest, last = 0.0, loop.time()
    turns = 0
    while not running.done():
        await asyncio.sleep(0.001)
        longest, last, turns = max(longest, loop.time() - last), loop.time(), turns + 1
    # Each of the ten calls takes 100 ms, and no turn of the loop had to wait for a whole one.
    assert turns > 100
    assert longest < 0.1
