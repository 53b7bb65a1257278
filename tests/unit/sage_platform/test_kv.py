"""Buckets on a real nats-server: where they are kept, and what becomes of them when it starts again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from fixtures.nats import NatsProcess, start_nats
from nats.aio.client import Client
from nats.js.api import KeyValueConfig, StorageType

from sage_common.clock import MonotonicClock
from sage_common.service_settings import NatsSettings
from sage_platform import leases, registry, subjects
from sage_platform.kv import created_unix_ms, open_bucket, read_all, read_records
from sage_platform.leases import Leadership
from sage_platform.nats_connection import connect


class Server:
    """A nats-server of its own, which the test may kill, and a connection to it."""

    def __init__(self, nats: NatsProcess, connection: Client, reconnected: asyncio.Event) -> None:
        self.nats = nats
        self.connection = connection
        self._reconnected = reconnected

    async def start_again(self) -> None:
        """Kill the server, start it on the same data, and wait for the connection."""
        self._reconnected.clear()
        await asyncio.to_thread(self.nats.kill)
        self.nats.start_again()
        await asyncio.wait_for(self._reconnected.wait(), 10)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    nats = start_nats(tmp_path)
    reconnected = asyncio.Event()

    async def on_reconnect() -> None:
        reconnected.set()

    connection = await connect(NatsSettings(url=nats.url), name="test", on_reconnect=on_reconnect)
    yield Server(nats, connection, reconnected)
    await connection.close()
    nats.stop()


async def _storage(server: Server, bucket: str) -> StorageType | None:
    return (await server.connection.jetstream().stream_info(f"KV_{bucket}")).config.storage


async def test_leases_and_the_registry_are_in_memory_and_what_must_survive_is_on_file(server: Server) -> None:
    js = server.connection.jetstream()
    for bucket in (subjects.BUCKET_LEASES, subjects.BUCKET_SERVICES, subjects.BUCKET_CONTROL, subjects.BUCKET_JOBS):
        await open_bucket(js, bucket)
    assert await _storage(server, subjects.BUCKET_LEASES) == StorageType.MEMORY
    assert await _storage(server, subjects.BUCKET_SERVICES) == StorageType.MEMORY
    assert await _storage(server, subjects.BUCKET_CONTROL) == StorageType.FILE
    assert await _storage(server, subjects.BUCKET_JOBS) == StorageType.FILE


async def test_a_lease_bucket_that_an_earlier_version_kept_in_files_is_made_again_in_memory(server: Server) -> None:
    js = server.connection.jetstream()
    old = await js.create_key_value(KeyValueConfig(bucket=subjects.BUCKET_LEASES, storage=StorageType.FILE))
    await old.put("pool.main", b"an earlier version")
    opened = await asyncio.gather(*(open_bucket(js, subjects.BUCKET_LEASES, ttl_seconds=5) for _ in range(4)))
    assert await _storage(server, subjects.BUCKET_LEASES) == StorageType.MEMORY
    assert await read_all(opened[0]) == {}
    await opened[0].put("pool.main", b"new")
    assert await read_all(opened[-1]) == {"pool.main": b"new"}


@pytest.mark.parametrize("use", ["put", "create", "watch", "read"])
async def test_a_bucket_in_memory_is_made_again_by_whoever_uses_it_after_a_restart(server: Server, use: str) -> None:
    js = server.connection.jetstream()
    bucket = await open_bucket(js, subjects.BUCKET_SERVICES, ttl_seconds=registry.TTL_SECONDS)
    await bucket.put("a", b"1")
    await server.start_again()
    if use == "put":
        await bucket.put("a", b"2")
    elif use == "create":
        await bucket.create("a", b"2")
    elif use == "watch":
        watcher = await bucket.watchall()
        await bucket.put("a", b"2")
        entries = [entry async for entry in _first(watcher, 2)]
        assert [entry.value for entry in entries if entry is not None] == [b"2"]
        return
    assert await read_all(bucket) == ({} if use == "read" else {"a": b"2"})


async def _first(watcher: object, count: int) -> AsyncIterator[object]:
    async for entry in watcher:  # type: ignore[attr-defined]
        yield entry
        count -= 1
        if not count:
            return


async def test_epochs_rise_when_the_server_has_lost_the_bucket_of_leases(server: Server) -> None:
    bucket = await open_bucket(server.connection.jetstream(), subjects.BUCKET_LEASES, ttl_seconds=leases.TTL_SECONDS)
    epochs: list[int] = []
    gained, lost = asyncio.Event(), asyncio.Event()

    def on_gained(epoch: int) -> None:
        epochs.append(epoch)
        gained.set()

    for _ in range(50):
        await bucket.put("other", b"makes the revision higher than it will be in the next bucket")
    leadership = Leadership(bucket, "pool.main", "first", clock=MonotonicClock(), on_gained=on_gained, on_lost=lost.set)
    leadership.start()
    await asyncio.wait_for(gained.wait(), 5)
    await leadership.release()
    gained.clear()
    await asyncio.to_thread(server.nats.kill)
    await asyncio.wait_for(lost.wait(), 5)
    server.nats.start_again()
    await asyncio.wait_for(gained.wait(), 10)
    await leadership.stop()
    assert epochs == sorted(set(epochs)), epochs
    assert max(epochs) < 2**44, "a dispatch number is an epoch above 20 bits, in 64"
    assert await created_unix_ms(bucket) > 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"service":1}',
        b'{"service":"a","instance_id":"b","host":"c","pid":"x"}',
    ],
)
async def test_a_record_that_cannot_be_read_hides_no_other(server: Server, garbage: bytes) -> None:
    bucket = await open_bucket(server.connection.jetstream(), subjects.BUCKET_SERVICES)
    instance = registry.Instance("scheduler", "scheduler-1", "127.0.0.1", 1, 2)
    registration = registry.Registration(bucket, instance)
    await registration.start()
    await bucket.put("scheduler.garbage", garbage)
    # Not a key of a bucket, but anybody who may publish can write it.
    await server.connection.jetstream().publish(f"$KV.{subjects.BUCKET_SERVICES}.odd\xe9key", b"{}")
    assert [found.instance_id for found in await registry.list_instances(bucket)] == ["scheduler-1"]
    await registration.stop()


async def test_a_decoder_may_raise_anything(server: Server) -> None:
    bucket = await open_bucket(server.connection.jetstream(), "anything")
    await bucket.put("good", b'{"a":1}')
    await bucket.put("bad", b'{"b":1}')
    assert await read_records(bucket, lambda value: orjson.loads(value)["a"]) == {"good": 1}
