"""The one place that runs background tasks."""

from __future__ import annotations

import asyncio
import random

import pytest

from sage_common.tasks import end_tasks
from sage_platform import background
from sage_platform.background import SERVICE_HEALTH, ServiceHealth, keep_running

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_DELAY_SECONDS", 0.001)
    monkeypatch.setattr(background, "MAX_DELAY_SECONDS", 0.002)
    monkeypatch.setattr(background, "RECOVERED_SECONDS", 0.01)


class Loop:
    """Fails as often as it is told to, then runs on."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.runs = 0
        self.going = asyncio.Event()

    async def __call__(self) -> None:
        self.runs += 1
        if self.runs <= self.failures:
            raise OSError(28, "No space left on device")
        self.going.set()
        await asyncio.Event().wait()


@pytest.fixture
def health() -> ServiceHealth:
    return ServiceHealth()


async def test_a_loop_that_raises_is_run_again(health: ServiceHealth) -> None:
    SERVICE_HEALTH.set(health)
    loop = Loop(failures=3)
    task = keep_running(loop, name="watcher", generator=random.Random(1))
    await asyncio.wait_for(loop.going.wait(), 5)
    assert loop.runs == 4
    await end_tasks(task)
    assert task.cancelled()


async def test_health_has_the_reason_while_a_loop_keeps_failing_and_loses_it_after_a_stable_time() -> None:
    changed = asyncio.Event()
    health = ServiceHealth(changed.set)
    SERVICE_HEALTH.set(health)
    loop = Loop(failures=3)
    task = keep_running(loop, name="watcher", generator=random.Random(1))
    await asyncio.wait_for(loop.going.wait(), 5)
    assert health.summary == "watcher: failed 3 times in a row: OSError: [Errno 28] No space left on device"
    while health.reasons:
        changed.clear()
        await asyncio.wait_for(changed.wait(), 5)
    await end_tasks(task)


async def test_a_single_failure_leaves_the_service_well(health: ServiceHealth) -> None:
    SERVICE_HEALTH.set(health)
    loop = Loop(failures=1)
    task = keep_running(loop, name="watcher", generator=random.Random(1))
    await asyncio.wait_for(loop.going.wait(), 5)
    assert health.summary is None
    await end_tasks(task)


async def test_a_loop_that_fails_late_every_time_is_not_taken_for_recovered(health: ServiceHealth) -> None:
    SERVICE_HEALTH.set(health)
    seen: list[str | None] = []
    enough = asyncio.Event()

    async def fails_late() -> None:
        await asyncio.sleep(0.02)  # longer than RECOVERED_SECONDS
        seen.append(health.summary)
        if len(seen) == 5:
            enough.set()
        raise ValueError("late")

    task = keep_running(fails_late, name="pruning", generator=random.Random(1))
    await asyncio.wait_for(enough.wait(), 5)
    await end_tasks(task)
    assert all(summary is not None for summary in seen[2:])


async def test_a_loop_that_returns_has_ended(health: ServiceHealth) -> None:
    async def returns() -> None:
        return

    await asyncio.wait_for(keep_running(returns, name="sender"), 5)


async def test_health_tells_of_each_change_once() -> None:
    changes: list[str | None] = []
    health = ServiceHealth(lambda: changes.append(health.summary))
    health.report("pool main", "nobody leads it")
    health.report("pool main", "nobody leads it")
    health.report("disk", None)
    health.report("pool main", None)
    assert changes == ["pool main: nobody leads it", None]
