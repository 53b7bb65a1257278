"""The mirror of a real bucket: what is gone is remembered for a while, and not for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fixtures.eventually import eventually
from fixtures.manual_clock import ManualClock
from fixtures.mesh import Mesh
from nats.js.kv import KeyValue

from sage_platform.kv import open_bucket
from sage_scheduler.bucket_mirror import FORGET_SECONDS, BucketMirror


@asynccontextmanager
async def mirror_of(
    mesh: Mesh, clock: ManualClock, *, ttl_seconds: float | None = None, forget_deleted: bool = True
) -> AsyncIterator[tuple[BucketMirror, KeyValue]]:
    bucket = await open_bucket(mesh.ring.connection.jetstream(), "mirrored")
    mirror = BucketMirror(bucket, clock, ttl_seconds=ttl_seconds, forget_deleted=forget_deleted)
    await mirror.start()
    try:
        yield mirror, bucket
    finally:
        await mirror.stop()


async def put(mirror: BucketMirror, bucket: KeyValue, key: str) -> None:
    await mirror.seen(key, await bucket.put(key, b"v"))


async def test_a_deleted_key_is_remembered_for_a_while_and_then_forgotten(mesh: Mesh) -> None:
    clock = ManualClock(50.0)
    async with mirror_of(mesh, clock) as (mirror, bucket):
        for number in range(50):
            await put(mirror, bucket, f"process-{number}")
            await bucket.delete(f"process-{number}")
        await put(mirror, bucket, "stays")
        clock.at += FORGET_SECONDS - 1
        await put(mirror, bucket, "later")
        assert mirror.entries["process-7"].value is None
        assert len(mirror.entries) == 52
        clock.at += 1
        await put(mirror, bucket, "later")
        await eventually(lambda: mirror.entries.keys() == {"stays", "later"})


async def test_a_key_that_has_expired_in_silence_is_forgotten_too(mesh: Mesh) -> None:
    clock = ManualClock(50.0)
    async with mirror_of(mesh, clock, ttl_seconds=5.0) as (mirror, bucket):
        await put(mirror, bucket, "dead")
        clock.at += FORGET_SECONDS + 4
        await put(mirror, bucket, "alive")
        assert mirror.entries.keys() == {"dead", "alive"}
        clock.at += FORGET_SECONDS
        await put(mirror, bucket, "alive")
        await eventually(lambda: mirror.entries.keys() == {"alive"})


async def test_what_never_expires_stays_however_silent(mesh: Mesh) -> None:
    clock = ManualClock(50.0)
    async with mirror_of(mesh, clock) as (mirror, bucket):
        await put(mirror, bucket, "order")
        clock.at += 1e6
        await put(mirror, bucket, "other")
        assert mirror.entries.keys() == {"order", "other"}


async def test_deleted_keys_stay_where_they_are_forgotten_by_hand_and_newer_ones_are_not_dropped(
    mesh: Mesh,
) -> None:
    clock = ManualClock(50.0)
    async with mirror_of(mesh, clock, forget_deleted=False) as (mirror, bucket):
        await put(mirror, bucket, "a")
        await bucket.delete("a")
        await eventually(lambda: mirror.entries["a"].value is None)
        clock.at += 1e6
        await put(mirror, bucket, "b")
        assert "a" in mirror.entries
        deleted = mirror.entries["a"].revision
        mirror.forget("b", deleted)
        assert "b" in mirror.entries
        mirror.forget("a", deleted)
        assert "a" not in mirror.entries
