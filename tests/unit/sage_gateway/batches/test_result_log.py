"""The log of a batch's results, on a real nats-server: kept whole, counted, and written by one at a time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from nats.js.client import JetStreamContext

from sage_gateway.batches.batch_record import BatchCounts
from sage_gateway.batches.line_result import LineResult
from sage_gateway.batches.result_log import DoneLines, ResultLog
from sage_mesh.reply import TokenUsage
from sage_platform import subjects
from sage_platform.fenced_log import FencedLogError, ensure_log_stream
from sage_platform.ring import Ring


@pytest.fixture
async def js(ring: Ring) -> JetStreamContext:
    made = ring.connection.jetstream()
    await ensure_log_stream(made, subjects.BATCH_RESULTS_STREAM, subjects.BATCH_RESULTS_ALL)
    return made


@pytest.fixture
async def batch_id(js: JetStreamContext) -> AsyncIterator[str]:
    made = f"batch_{os.urandom(15).hex()}0"
    yield made
    await ResultLog(js, "t", made).drop()


async def opened(js: JetStreamContext, batch_id: str) -> ResultLog:
    log = ResultLog(js, "t", batch_id)
    await log.take_over()
    return log


def result(number: int, size: int = 10, *, is_error: bool = False) -> LineResult:
    return LineResult(number, is_error, bytes([65 + number % 26]) * size + b"\n", TokenUsage(2, 3, 1))


async def test_results_come_back_as_they_were_given(js: JetStreamContext, batch_id: str) -> None:
    log = await opened(js, batch_id)
    given = [result(number, number * 7, is_error=number % 5 == 0) for number in range(1, 200)]
    await asyncio.gather(*(log.add(one) for one in given))
    assert sorted([one async for one in log.results()], key=lambda one: one.number) == given
    assert log.counts == BatchCounts(0, 160, 39, 398, 199, 597)
    await log.close()


async def test_a_result_longer_than_a_message_comes_back_whole(js: JetStreamContext, batch_id: str) -> None:
    log = await opened(js, batch_id)
    given = [result(1, 3_500_000), result(2), result(3, 1024 * 1024 - 1), result(4, 1024 * 1024)]
    await asyncio.gather(*(log.add(one) for one in given))
    assert sorted([one async for one in log.results()], key=lambda one: one.number) == given
    await log.close()


async def test_who_takes_over_knows_what_is_done(js: JetStreamContext, batch_id: str) -> None:
    first = await opened(js, batch_id)
    for number in (3, 90_000):
        await first.add(result(number))
    second = await opened(js, batch_id)
    assert 3 in second.done
    assert 90_000 in second.done
    assert 4 not in second.done
    assert second.counts == first.counts
    await first.close()


async def test_who_was_taken_over_from_stores_nothing_more(js: JetStreamContext, batch_id: str) -> None:
    first = await opened(js, batch_id)
    await first.add(result(1))
    second = await opened(js, batch_id)
    with pytest.raises(FencedLogError):
        await first.add(result(2))
    with pytest.raises(FencedLogError):
        await first.add(result(3))
    await second.add(result(2))
    assert [one.number async for one in second.results()] == [1, 2]
    await first.close()
    await second.close()


async def test_half_a_result_of_a_dead_gateway_is_none(js: JetStreamContext, batch_id: str) -> None:
    log = await opened(js, batch_id)
    await log.add(result(1))
    subject = subjects.batch_results("t", batch_id)
    # As the first message of a result that has several.
    await js.publish(subject, b"[[2,0,0,4,0,0,0]]\nhalf")
    second = await opened(js, batch_id)
    assert 2 not in second.done
    await second.add(result(2))
    assert [one async for one in second.results()] == [result(1), result(2)]
    await log.close()
    await second.close()


def test_lines_are_counted_by_a_bit_each() -> None:
    done = DoneLines()
    for number in (0, 7, 8, 1_000_000):
        assert number not in done
        done.add(number)
        assert number in done
    assert 9 not in done
    assert 10_000_000 not in done
