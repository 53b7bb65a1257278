"""Reading streams of JetStream, beside a bare client that fetches and acknowledges."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import polars as pl
from nats.aio.client import Client

from sage_benchmark.dataflow.measurement import DataflowPlan, Figure, Spent, rate
from sage_common.service_settings import NatsSettings
from sage_kernel.connectors.nats_source import NatsSource, NatsSubject
from sage_kernel.connectors.patience import Once
from sage_kernel.connectors.source_options import SourceOptions
from sage_kernel.nats_access import LazyNats
from sage_kernel.schema import parse_schema
from sage_platform.nats_server import NatsServer, NatsServerOptions

# Of the stream with one record a message; beyond them a bare client takes minutes.
_MOST_MESSAGES = 50_000
_ARROW_RECORDS = 1_000_000
_FETCH = 500
_IN_FLIGHT = 1000
_SCHEMA = {"id": "int", "user": "string", "ts": "timestamp", "v": "float"}


def nats_source(plan: DataflowPlan, folder: Path) -> list[Figure]:
    """Measure one record a message, and Arrow batches of 100 and 1,000 records."""
    return asyncio.run(_measure(plan, folder))


async def _measure(plan: DataflowPlan, folder: Path) -> list[Figure]:
    messages = min(plan.events, _MOST_MESSAGES)
    records = min(plan.events, _ARROW_RECORDS)
    async with _server(folder) as client:
        js = client.jetstream(publish_async_max_pending=_IN_FLIGHT)
        for name in ("json", "a100", "a1000"):
            await js.add_stream(name=name, subjects=[name], storage="memory")
        acks = [await js.publish_async("json", _record(number)) for number in range(messages)]
        await asyncio.gather(*acks)
        for size in (100, 1000):
            data = _arrow(size)
            acks = [await js.publish_async(f"a{size}", data) for _ in range(records // size)]
            await asyncio.gather(*acks)
        url = f"nats://{client.connected_url.netloc}" if client.connected_url else ""
        # In turn, so that what else the machine does falls on both alike.
        ours, bare = [], []
        for repetition in range(plan.repetitions):
            ours.append(await _ours(url, "json", messages))
            bare.append(await _bare(url, f"bare-{repetition}", messages))
        figures = [rate("NATS, one record a message", messages, ours), rate("nats-py, fetch and ack", messages, bare)]
        figures.append(Figure("NATS source beside nats-py", figures[0].value / figures[1].value, "×", 0.8))
        for size in (100, 1000):
            count = records // size * size
            spent = [await _ours(url, f"a{size}", count) for _ in range(plan.repetitions)]
            figures.append(rate(f"NATS, Arrow batches of {size:,}", count, spent, 500_000))
        return figures


async def _ours(url: str, subject: str, expected: int) -> Spent:
    access = LazyNats(NatsSettings(url=url))
    await access.client()
    options = SourceOptions(parse_schema(_SCHEMA))
    source = NatsSource(NatsSubject(subject, is_bounded=True), options, access, Once())
    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    count = 0
    async for batch in source.batches(None, None):
        count += batch.frame.height
    spent = Spent(time.perf_counter() - began, time.process_time() - cpu)
    await access.close()
    if count != expected:
        raise RuntimeError(f"{count} records came of {expected}")
    return spent


async def _bare(url: str, durable: str, expected: int) -> Spent:
    client = await nats.connect(url)
    subscription = await client.jetstream().pull_subscribe("json", durable=durable)
    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    count = 0
    while count < expected:
        for message in await subscription.fetch(_FETCH):
            await message.ack()
            count += 1
    spent = Spent(time.perf_counter() - began, time.process_time() - cpu)
    await client.close()
    return spent


def _record(number: int) -> bytes:
    return b'{"id":%d,"user":"u%d","ts":"2026-01-01T00:00:%02dZ","v":0.5}' % (number, number % 1000, number % 60)


def _arrow(size: int) -> bytes:
    times = pl.int_range(size, eager=True).cast(pl.Datetime("us"))
    users = [f"u{number}" for number in range(size)]
    frame = pl.DataFrame({"id": range(size), "user": users, "ts": times, "v": [0.5] * size})
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer)
    return buffer.getvalue()


@contextlib.asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[Client]:
    server = NatsServer(NatsServerOptions(folder))
    process = await asyncio.create_subprocess_exec(
        *server.prepare(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        # The measured client has one core; the server is no part of what is measured.
        os.sched_setaffinity(process.pid, range(os.cpu_count() or 1))
        await server.wait_ready(process.pid)
        client = await nats.connect(server.url)
        yield client
        await client.close()
    finally:
        process.terminate()
        await process.wait()
