"""A log with one writer at a time, on a real nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from nats.errors import MaxPayloadError
from nats.js.client import JetStreamContext

from sage_platform.fenced_log import FencedLog, drop_log, ensure_log_stream, longest_message, read_log
from sage_platform.ring import Ring

STREAM = "TEST_FENCED_LOG"
SUBJECT = "test.fenced_log.one"


@pytest.fixture
async def js(ring: Ring) -> AsyncIterator[JetStreamContext]:
    made = ring.connection.jetstream()
    await ensure_log_stream(made, STREAM, "test.fenced_log.*")
    yield made
    await drop_log(made, STREAM, SUBJECT)


async def test_a_message_that_is_too_long_is_refused_at_once_and_the_log_goes_on(js: JetStreamContext) -> None:
    log = FencedLog(js, STREAM, SUBJECT)
    with pytest.raises(MaxPayloadError):
        await asyncio.wait_for(log.append(b"x" * (longest_message(js) + 1)), 2)
    await log.append(b"x" * longest_message(js))
    await log.append(b"short")
    lengths = [len(message.data) async for message in read_log(js, STREAM, SUBJECT)]
    assert lengths == [longest_message(js), 5]
