"""The client of the benchmarks: what it notes of an answer, complete or not, and which connections it uses again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sage_benchmark.http_client import ConnectionPool, connect, render_post
from sage_benchmark.static_engine import StaticAnswer, StaticEngine

STREAM = b'{"model":"static","stream":true,"messages":[]}'
TOKENS = 4


@pytest.fixture
async def engine() -> AsyncIterator[StaticEngine]:
    """Its streams have a token every 200 ms."""
    running = StaticEngine(StaticAnswer(TOKENS, gap_ms=200.0))
    await running.start()
    yield running
    running.close()


def post(engine: StaticEngine) -> bytes:
    return render_post(f"{engine.url}/v1/chat/completions", STREAM)


async def test_each_piece_of_an_answer_has_its_time(engine: StaticEngine) -> None:
    connection = await connect(engine.url)
    response = await connection.request(post(engine))
    connection.close()
    assert (response.status, response.error, response.keep_alive) == (200, "", True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.body.count(b"word ") == TOKENS
    assert len(response.pieces) == len(response.arrivals)
    assert sum(gap > 0.1 for gap in response.gaps) == TOKENS - 1
    assert 0 < response.first_byte_seconds < 0.5 < response.seconds


async def test_a_time_out_gives_what_has_arrived_and_closes_the_connection(engine: StaticEngine) -> None:
    connection = await connect(engine.url)
    response = await connection.request(post(engine), timeout_seconds=0.3)
    assert (response.status, response.error) == (200, "timeout")
    assert 0 < response.body.count(b"word ") < TOKENS
    assert not connection.usable
    with pytest.raises(ConnectionError):
        await connection.request(post(engine))


async def test_a_broken_connection_is_an_error_of_the_answer(engine: StaticEngine) -> None:
    connection = await connect(engine.url)
    asking = asyncio.create_task(connection.request(post(engine)))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.3, engine.close)
    response = await asking
    assert (response.status, response.error) == (200, "connection_lost")
    assert response.finished_at is not None


async def test_a_cancelled_request_closes_its_connection(engine: StaticEngine) -> None:
    connection = await connect(engine.url)
    asking = asyncio.create_task(connection.request(post(engine)))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not connection.usable


async def test_an_idle_connection_is_used_again_and_a_stale_one_is_not(engine: StaticEngine) -> None:
    now = 0.0
    pool = ConnectionPool(engine.url, lambda: now, idle_seconds=2.0)
    first = await pool.take()
    second = await pool.take()
    assert first is not second
    pool.give_back(first, reusable=True)
    pool.give_back(second, reusable=False)
    now = 1.9
    assert await pool.take() is first
    pool.give_back(first, reusable=True)
    now = 4.0
    third = await pool.take()
    assert third is not first
    assert not first.usable
    pool.give_back(third, reusable=True)
    pool.close()
