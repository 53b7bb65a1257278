"""Whose pipeline is read next, for any order in which they come, end and are given up."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_common.errors import ContendedError
from sage_dataflow_worker.reading_turns import LONG_BYTES, MOST_WAITING, MOST_WAITING_OF_TENANT, ReadingTurns

SHORT, LONG = 1, LONG_BYTES + 1


class Reading:
    """One that has a turn, or waits for one."""

    def __init__(self, turns: ReadingTurns, tenant: str, size: int) -> None:
        self.tenant, self.size = tenant, size
        self.begun, self.end = asyncio.Event(), asyncio.Event()
        self.task = asyncio.ensure_future(self._read(turns))

    async def _read(self, turns: ReadingTurns) -> None:
        async with turns.turn(self.tenant, self.size):
            self.begun.set()
            await self.end.wait()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def finished(reading: Reading) -> None:
    reading.end.set()
    await reading.task
    await settled()


async def test_a_tenant_with_many_waits_for_the_others_turns() -> None:
    turns = ReadingTurns(2)
    many = [Reading(turns, "many", SHORT) for _ in range(5)]
    await settled()
    one = Reading(turns, "one", SHORT)
    await settled()
    assert [reading.begun.is_set() for reading in (*many, one)] == [True, False, False, False, False, True]
    for reading in (one, *many):
        await finished(reading)


async def test_short_ones_of_the_same_tenant_pass_long_ones() -> None:
    turns = ReadingTurns(3)
    readings = [Reading(turns, "a", size) for size in (LONG, LONG, SHORT)]
    await settled()
    assert [reading.begun.is_set() for reading in readings] == [True, False, True]
    for reading in readings:
        await finished(reading)


async def test_one_that_is_given_up_while_it_waits_takes_no_turn() -> None:
    turns = ReadingTurns(1)
    first, given_up, last = (Reading(turns, "a", SHORT) for _ in range(3))
    await settled()
    given_up.task.cancel()
    await settled()
    await finished(first)
    assert last.begun.is_set()
    await finished(last)


steps = st.lists(
    st.tuples(st.sampled_from(["come", "end", "give up"]), st.sampled_from("abc"), st.sampled_from([SHORT, LONG])),
    max_size=40,
)


@given(readers=st.integers(1, 4), steps=steps)
def test_limits_hold_and_everyone_has_a_turn(readers: int, steps: list[tuple[str, str, int]]) -> None:
    async def play() -> None:
        turns = ReadingTurns(readers)
        known: list[Reading] = []
        for what, tenant, size in steps:
            running = [one for one in known if one.begun.is_set() and not one.task.done()]
            waiting = [one for one in known if not one.begun.is_set() and not one.task.done()]
            if what == "come":
                known.append(Reading(turns, tenant, size))
            elif what == "end" and running:
                running[0].end.set()
            elif what == "give up" and (running or waiting):
                (waiting or running)[-1].task.cancel()
            await settled()
            running = [one for one in known if one.begun.is_set() and not one.task.done()]
            assert len(running) <= readers
            assert all(count <= max(1, readers - 1) for count in Counter(one.tenant for one in running).values())
            assert sum(one.size == LONG for one in running) <= max(1, readers - 2)
        for _ in known:
            for one in known:
                if one.begun.is_set():
                    one.end.set()
            await settled()
        assert all(one.task.done() for one in known)
        await asyncio.gather(*(one.task for one in known), return_exceptions=True)

    asyncio.run(play())


async def test_callers_are_refused_where_too_many_wait_and_jobs_are_not() -> None:
    turns = ReadingTurns(2)
    many = [Reading(turns, "many", SHORT) for _ in range(MOST_WAITING_OF_TENANT + 1)]
    await settled()
    with pytest.raises(ContendedError, match="try again") as refused:
        async with turns.turn("many", SHORT, has_caller=True):
            raise AssertionError
    assert refused.value.retry_after_seconds
    accepted = Reading(turns, "many", SHORT)
    async with turns.turn("one", SHORT, has_caller=True):
        pass
    others = [Reading(turns, f"tenant {n}", SHORT) for n in range(MOST_WAITING)]
    await settled()
    with pytest.raises(ContendedError):
        async with turns.turn("another", SHORT, has_caller=True):
            raise AssertionError
    for reading in (*many, accepted, *others):
        reading.end.set()
    await asyncio.gather(*(reading.task for reading in (*many, accepted, *others)))
    async with turns.turn("many", SHORT, has_caller=True):
        pass
