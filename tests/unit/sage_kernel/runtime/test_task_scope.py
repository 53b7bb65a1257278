from __future__ import annotations

import asyncio

from sage_kernel.runtime.task_scope import TaskScope


async def test_a_scope_whose_tasks_have_all_ended_in_this_tick_ends_too() -> None:
    scope = TaskScope()
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    task = scope.spawn(wait(), "waits")
    joining = asyncio.create_task(scope.join())
    await asyncio.sleep(0)
    gate.set()
    # The task ends in the tick in which the cancellation arrives; what takes it out of the scope runs in the next.
    joining.cancel()
    await asyncio.wait({joining}, timeout=5)
    assert joining.done()
    assert task.done()
