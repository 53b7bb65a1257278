"""An hour played in a process of its own: what comes back, and that nothing of it is left."""

from __future__ import annotations

import asyncio

import psutil
import pytest
from fixtures.eventually import eventually
from fixtures.seen_requests import NOW_UNIX_MS, seen

from sage_common.errors import DeadlineExceededError, InternalError
from sage_studio import simulation_process
from sage_studio.simulation_process import Simulations, played
from sage_studio.what_if import Change, Played, Recording, play, recording

LONG_SECONDS = 60.0


def recorded(count: int) -> Recording:
    pace = {"queue_ms": 10.0, "ttft_ms": 200.0, "ended_after_ms": 380.0}
    requests = [seen(arrived_ms_ago=600_000 - number * 10, request_id=str(number), **pace) for number in range(count)]
    made = recording(requests, (), "default", "fifo", NOW_UNIX_MS)
    assert isinstance(made, Recording), made
    return made


def simulations() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "sage_studio.simulation_process" in child.cmdline()]


async def test_it_plays_every_change_as_this_process_would() -> None:
    hour = recorded(20)
    changes = [Change("fifo", 1), Change("hybrid", 4)]
    assert await played(hour, changes, LONG_SECONDS) == [play(hour, change) for change in changes]
    assert simulations() == []


async def test_one_that_takes_too_long_is_ended_and_says_so() -> None:
    with pytest.raises(DeadlineExceededError, match="not played within 0 s; choose more engines"):
        await played(recorded(20), [Change("fifo", 1)], 0.01)
    assert simulations() == []


async def test_one_that_is_killed_says_by_what() -> None:
    playing = asyncio.create_task(played(recorded(5000), [Change("fifo", 1)] * 50, LONG_SECONDS))
    await eventually(lambda: bool(simulations()))
    simulations()[0].kill()
    with pytest.raises(InternalError, match="was killed by SIGKILL"):
        await playing


async def test_one_that_nobody_waits_for_any_more_is_ended() -> None:
    playing = asyncio.create_task(played(recorded(5000), [Change("fifo", 1)] * 50, LONG_SECONDS))
    await eventually(lambda: bool(simulations()))
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert simulations() == []


async def test_one_that_fails_ends_with_its_last_words() -> None:
    with pytest.raises(InternalError, match=r"failed: .*no scheduling policy is called 'nobody'"):
        await played(recorded(5), [Change("nobody", 1)], LONG_SECONDS)


async def test_no_more_are_played_at_once_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[int] = []
    most = 0
    leave = asyncio.Event()

    async def counted(*_: object) -> list[Played]:
        nonlocal most
        running.append(1)
        most = max(most, len(running))
        await leave.wait()
        running.pop()
        return []

    monkeypatch.setattr(simulation_process, "played", counted)
    simulations, hour = Simulations(2), recorded(5)
    asked = [asyncio.create_task(simulations.played(hour, [], LONG_SECONDS)) for _ in range(5)]
    await eventually(lambda: len(running) == 2)
    leave.set()
    assert await asyncio.gather(*asked) == [[]] * 5
    assert most == 2
