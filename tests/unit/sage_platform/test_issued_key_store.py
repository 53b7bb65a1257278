"""Issued API keys on a real nats-server: made, changed, and known to every service at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from fixtures.eventually import eventually
from fixtures.nats import NatsProcess, start_nats

from sage_common.api_keys import ANYBODY, ApiKeys
from sage_common.errors import ConflictError, NotFoundError, UnauthenticatedError, UnavailableError
from sage_common.service_settings import NatsSettings
from sage_platform import subjects
from sage_platform.issued_key_store import IssuedKeyStore
from sage_platform.kv import open_bucket, read_all
from sage_platform.nats_connection import connect


class Service:
    """What a service knows of the keys."""

    def __init__(self, store: IssuedKeyStore, keys: ApiKeys) -> None:
        self.store = store
        self.keys = keys

    def lets_in(self, key: str | None) -> bool:
        try:
            self.keys.caller(None if key is None else f"Bearer {key}")
        except UnauthenticatedError:
            return False
        return True


class Services:
    """Services of one mesh, and the time that all of them have."""

    def __init__(self, nats: NatsProcess, stack: AsyncExitStack) -> None:
        self.nats = nats
        self.stack = stack
        self.now = 1_000.0

    async def start(self) -> Service:
        stores: list[IssuedKeyStore] = []

        async def reconnected() -> None:
            for store in stores:
                store.reconnected()

        connection = await connect(NatsSettings(url=self.nats.url), name="test", on_reconnect=reconnected)
        self.stack.push_async_callback(connection.close)
        keys = ApiKeys({}, now=lambda: self.now)
        store = IssuedKeyStore(connection.jetstream(), keys, lambda: self.now)
        stores.append(store)
        await store.start()
        self.stack.push_async_callback(store.stop)
        return Service(store, keys)

    async def stored(self) -> dict[str, bytes]:
        connection = await connect(NatsSettings(url=self.nats.url), name="test")
        self.stack.push_async_callback(connection.close)
        return await read_all(await open_bucket(connection.jetstream(), subjects.BUCKET_KEYS))

    async def write(self, key: str, value: bytes) -> None:
        connection = await connect(NatsSettings(url=self.nats.url), name="test")
        self.stack.push_async_callback(connection.close)
        await (await open_bucket(connection.jetstream(), subjects.BUCKET_KEYS)).put(key, value)


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    nats = start_nats(tmp_path)
    async with AsyncExitStack() as stack:
        yield Services(nats, stack)
    nats.stop()


async def test_a_key_is_known_to_every_service_and_stored_nowhere(services: Services) -> None:
    one, other = await services.start(), await services.start()
    assert one.keys.caller(None) == ANYBODY
    issued, key = await one.store.create("acme", label="first")
    # Until it knows of a key it lets everybody in.
    await eventually(lambda: not other.lets_in(None))
    assert other.lets_in(key)
    assert other.keys.caller(f"Bearer {key}").key_id == issued.key_id
    assert await other.store.list_keys() == [issued]
    kept = b"".join((await services.stored()).values())
    assert key.rpartition("-")[2].encode() not in kept
    assert b"acme" in kept


async def test_a_service_that_starts_later_knows_the_keys_before_it_answers(services: Services) -> None:
    _, key = await (await services.start()).store.create("acme")
    late = await services.start()
    assert late.lets_in(key)
    assert not late.lets_in(None)


async def test_a_revoked_key_ends_everywhere_and_whoever_asked_is_told(services: Services) -> None:
    one, other = await services.start(), await services.start()
    ended: list[str] = []
    other.store.on_invalid(ended.append)
    issued, key = await one.store.create("acme")
    await eventually(lambda: not other.lets_in(None))
    revoked = await one.store.revoke(issued.key_id)
    await eventually(lambda: not other.lets_in(key))
    assert (revoked.revoked_at, ended) == (services.now, [issued.key_id])
    assert not other.lets_in(None)
    await one.store.revoke(issued.key_id, forget=True)
    await eventually(lambda: other.lets_in(None))
    assert await other.store.list_keys() == []


async def test_a_key_that_is_rotated_stays_valid_for_its_grace(services: Services) -> None:
    one = await services.start()
    old, old_key = await one.store.create("acme", operator=True, label="ci", lifetime_seconds=500)
    new, new_key = await one.store.rotate(old.key_id, grace_seconds=60)
    await eventually(lambda: one.lets_in(new_key))
    assert (new.tenant, new.operator, new.label, new.expires_at) == ("acme", True, "ci", services.now + 500)
    assert one.lets_in(old_key)
    services.now += 60
    # What is told of the old key may come after what is told of the new one.
    await eventually(lambda: not one.lets_in(old_key))
    assert one.lets_in(new_key)
    services.now += 440
    assert not one.lets_in(new_key)


async def test_a_key_that_is_rotated_without_grace_ends_at_once(services: Services) -> None:
    one = await services.start()
    old, old_key = await one.store.create("acme")
    await one.store.rotate(old.key_id, grace_seconds=0)
    await eventually(lambda: not one.lets_in(old_key))
    with pytest.raises(ConflictError, match="was revoked"):
        await one.store.rotate(old.key_id, grace_seconds=0)


@pytest.mark.parametrize("key_id", ["", "nobody2222", "a.b", "*", ">", "x" * 500, "é"])
async def test_a_key_that_is_not_there(services: Services, key_id: str) -> None:
    one = await services.start()
    with pytest.raises(NotFoundError, match="sage key list"):
        await one.store.revoke(key_id)


async def test_two_changes_at_once_do_not_undo_each_other(services: Services) -> None:
    one, other = await services.start(), await services.start()
    issued, _ = await one.store.create("acme")
    revoking, rotating = await asyncio.gather(
        one.store.revoke(issued.key_id), other.store.rotate(issued.key_id, 60), return_exceptions=True
    )
    kept = (await services.stored())[issued.key_id]
    if isinstance(revoking, ConflictError):
        assert not isinstance(rotating, BaseException)
        assert b'"expires_at":1060.0' in kept
    else:
        assert b'"revoked_at":1000.0' in kept


async def test_a_record_that_is_none_keeps_nobody_out_and_lets_nobody_in(services: Services) -> None:
    one = await services.start()
    _, key = await one.store.create("acme")
    await services.write("zzzzzzzzzz", b'{"key_id": 7}')
    await services.write("yyyyyyyyyy", b"no json")
    late = await services.start()
    assert late.lets_in(key)
    assert len(await late.store.list_keys()) == 1


async def test_the_keys_outlive_a_server_that_was_killed(services: Services) -> None:
    one = await services.start()
    issued, key = await one.store.create("acme")
    await eventually(lambda: not one.lets_in(None))
    await asyncio.to_thread(services.nats.kill)
    assert one.lets_in(key)
    assert not one.lets_in(None)
    services.nats.start_again()
    await (await services.start()).store.revoke(issued.key_id)
    await eventually(lambda: not one.lets_in(key), seconds=10)


async def test_without_its_bucket_a_service_lets_nobody_in(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cannot_open(*_: object, **__: object) -> None:
        raise asyncio.TimeoutError

    monkeypatch.setattr("sage_platform.issued_key_store.open_bucket", cannot_open)
    monkeypatch.setattr("sage_platform.issued_key_store.FIRST_READ_SECONDS", 0.01)
    blind = await services.start()
    with pytest.raises(UnavailableError, match="could not be read"):
        blind.keys.caller(None)
