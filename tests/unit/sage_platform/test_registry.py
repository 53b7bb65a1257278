"""The registry of instances on a real KV bucket."""

from __future__ import annotations

import asyncio

from sage_common.tasks import end_tasks
from sage_platform.kv import open_bucket
from sage_platform.registry import Instance, Registration, list_instances
from sage_platform.ring import Ring


def instance(number: int) -> Instance:
    return Instance("scheduler", f"scheduler-{number}", "127.0.0.1", number, 50052 + number)


async def test_every_instance_is_listed_at_any_moment_while_records_are_refreshed(ring: Ring) -> None:
    bucket = await open_bucket(ring.connection.jetstream(), "services-listed", ttl_seconds=10)
    registrations = [Registration(bucket, instance(number)) for number in range(3)]
    for registration in registrations:
        await registration.start()

    async def refresh() -> None:
        while True:
            for registration in registrations:
                await registration._write()

    refreshing = asyncio.create_task(refresh())
    for _ in range(100):
        assert {found.pid for found in await list_instances(bucket)} == {0, 1, 2}
    await end_tasks(refreshing)
    await registrations[0].stop()
    assert {found.pid for found in await list_instances(bucket)} == {1, 2}
    for registration in registrations[1:]:
        await registration.stop()
    assert await list_instances(bucket) == []
