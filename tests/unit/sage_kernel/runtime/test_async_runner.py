from __future__ import annotations

import asyncio
from typing import Any

import polars as pl
from fixtures.eventually import eventually

from sage_common.clock import MonotonicClock
from sage_kernel.operator import State
from sage_kernel.operators.llm import LlmNode
from sage_kernel.run_context import DeadLetter
from sage_kernel.runtime.async_runner import AsyncRunner
from sage_kernel.runtime.elements import Element, End, Watermark
from sage_kernel.runtime.failures import FailedRecords
from sage_kernel.runtime.outlet import Outlet
from sage_kernel.runtime.progress import NodeCounts
from sage_kernel.runtime.running_node import RunningNode
from sage_kernel.runtime.task_scope import TaskScope


class Echo:
    batch_records = 1
    linger_seconds = 0.0

    async def process(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame

    async def close(self) -> None:
        pass


class SlowWindows:
    """Takes a while for a watermark, as windows do that are closed in a thread."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun: list[Element] = []
        self.taken: list[Element] = []

    async def accept(self, element: Element, input_index: int) -> None:
        self.begun.append(element)
        if isinstance(element, Watermark):
            await self.gate.wait()
        self.taken.append(element)

    def has_room(self, input_index: int) -> bool:
        return True

    def on_room(self, input_index: int, wake: Any) -> None:
        pass


class Finished:
    def __init__(self) -> None:
        self.is_finished = False

    def finish(self, state: State) -> None:
        self.is_finished = True


async def _no_dead_letter(letter: DeadLetter) -> None:
    raise AssertionError(letter)


async def test_the_end_waits_for_a_watermark_that_is_still_leaving() -> None:
    spec, counts, scope = LlmNode(op="llm", inputs=["source"], prompt="x"), NodeCounts(), TaskScope()
    outlet, behind, participant = Outlet(counts, lambda: None), SlowWindows(), Finished()
    outlet.connect("", behind, 0)
    failed = FailedRecords("llm", spec, outlet, counts, _no_dead_letter)
    node = RunningNode(
        spec, outlet, counts, failed, participant,  # type: ignore[arg-type]
        MonotonicClock(), asyncio.sleep, lambda: None,
    )  # fmt: skip
    runner = AsyncRunner(node, Echo(), scope=scope)
    record, watermark = pl.DataFrame({"n": [1]}), Watermark(5)
    await runner.accept(record, 0)
    await runner.accept(watermark, 0)
    await eventually(lambda: len(behind.begun) == 2)

    ending = asyncio.create_task(runner.accept(End(), 0))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(behind.begun) == 2
    assert not participant.is_finished

    behind.gate.set()
    await asyncio.wait_for(ending, 20)
    await asyncio.wait_for(scope.join(), 20)
    assert [type(element) for element in behind.taken] == [pl.DataFrame, Watermark, End]
    assert participant.is_finished
