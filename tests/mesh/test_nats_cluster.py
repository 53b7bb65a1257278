"""Three real NATS servers: any one killed, frozen or started again, and what leases and messages come to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise

import pytest
from fixtures.nats_cluster import NAMES, ClusteredServers, clustered_servers
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.kv import KeyValue

from sage_common.clock import MonotonicClock
from sage_common.service_settings import NatsSettings
from sage_common.tasks import end_tasks
from sage_platform import subjects
from sage_platform.kv import open_bucket
from sage_platform.leases import CHOICE_SECONDS, TTL_SECONDS, Leadership
from sage_platform.nats_connection import connect
from sage_scheduler.lease_placement import LeasePlacement

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]
READY_SECONDS = 30.0
GAP_SECONDS = 2.0
# A lease that its holder cannot renew in silence expires first; reads of it go to the frozen server, too, for a while.
SILENT_SECONDS = 4.5
# The lease's time, and two pings until a client or a server behind the frozen one is missed.
FOLLOWED_SECONDS = 3.0
LOOK_SECONDS = 0.02


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusteredServers]:
    with clustered_servers(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


def is_at(connection: Client, servers: ClusteredServers, name: str) -> bool:
    """Whether a connection is to one of the servers, of which a client knows all."""
    return connection.connected_url is not None and connection.connected_url.port == servers.ports[name]


@asynccontextmanager
async def client(servers: ClusteredServers, first: str) -> AsyncIterator[Client]:
    """A client of ``first``, and of another when that one is gone."""
    connection = await connect(NatsSettings(url=servers.url(first)), name="test")
    deadline = time.monotonic() + READY_SECONDS
    while not is_at(connection, servers, first):
        assert time.monotonic() < deadline, f"{first} takes no clients"
        await connection.close()
        connection = await connect(NatsSettings(url=servers.url(first)), name="test")
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def harmed(servers: ClusteredServers, name: str, harm: str) -> Iterator[None]:
    """One server killed, frozen or started again; whole again at the end, also for the tests that come after one that
    has failed."""
    if harm == "freeze":
        servers.freeze(name)
    else:
        servers.kill(name)
    try:
        if harm == "restart":
            servers.start(name)
        yield
    finally:
        if harm == "freeze":
            servers.thaw(name)
        elif harm == "kill":
            servers.start(name)


async def leases(connection: Client) -> KeyValue:
    """The leases' bucket; a cluster that has just begun, or has lost a server, is waited for."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            bucket = await open_bucket(connection.jetstream(), subjects.BUCKET_LEASES, ttl_seconds=TTL_SECONDS)
            info = await connection.jetstream().stream_info(f"KV_{subjects.BUCKET_LEASES}")
            if info.cluster and info.cluster.leader and len(info.cluster.replicas or ()) == 2:
                assert info.config.num_replicas == 3
                return bucket
        except Exception:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, "the leases' bucket has no three replicas"
        await asyncio.sleep(0.1)


async def leader_of(bucket: KeyValue) -> str:
    """Name of the server that leads the bucket's stream."""
    info = await bucket._js.stream_info(bucket._stream)
    assert info.cluster is not None
    return str(info.cluster.leader)


class Terms:
    """A candidate, and how many lead at each moment that is looked at."""

    def __init__(self, bucket: KeyValue, name: str, key: str) -> None:
        self.epochs: list[int] = []
        self.lost = 0
        self.leadership = Leadership(
            bucket,
            key,
            name,
            clock=MonotonicClock(),
            on_gained=self.epochs.append,
            on_lost=self._on_lost,
        )

    def _on_lost(self) -> None:
        self.lost += 1


async def acting(candidates: list[Terms], seconds: float) -> list[int]:
    """Look for ``seconds`` how many candidates may act; return each count."""
    seen = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen.append(sum(one.leadership.may_act for one in candidates))
        await asyncio.sleep(LOOK_SECONDS)
    return seen


async def until_one_leads(candidates: list[Terms]) -> Terms:
    deadline = time.monotonic() + READY_SECONDS
    while not any(one.leadership.may_act for one in candidates):
        assert time.monotonic() < deadline
        await asyncio.sleep(LOOK_SECONDS)
    return next(one for one in candidates if one.leadership.may_act)


async def test_a_holder_goes_on_while_the_servers_choose_who_keeps_its_lease(servers: ClusteredServers) -> None:
    async with client(servers, "a") as probe:
        victim = await leader_of(await leases(probe))
        # The holder's own server lives on.
        own, other = (name for name in NAMES if name != victim)
        async with client(servers, own) as one, client(servers, other) as two:
            candidates = [Terms(await leases(one), "one", "pool.kill"), Terms(await leases(two), "two", "pool.kill")]
            candidates[0].leadership.start()
            holder = await until_one_leads(candidates)
            candidates[1].leadership.start()
            with harmed(servers, victim, "kill"):
                seen = await acting(candidates, CHOICE_SECONDS + 2)
            assert set(seen) == {1}, "one led all the time"
            assert (holder.lost, sum(len(one.epochs) for one in candidates)) == (0, 1)
            for candidate in candidates:
                await candidate.leadership.stop()


async def test_a_holder_of_a_frozen_server_steps_down_before_another_leads(servers: ClusteredServers) -> None:
    async with client(servers, "a") as probe:
        bucket = await leases(probe)
        leader = await leader_of(bucket)
        victim, other = [name for name in NAMES if name != leader]
        async with client(servers, victim) as one, client(servers, other) as two:
            candidates = [Terms(await leases(one), "one", "pool.ice"), Terms(await leases(two), "two", "pool.ice")]
            candidates[0].leadership.start()
            holder = await until_one_leads(candidates)
            candidates[1].leadership.start()
            # A machine that is so busy that pings are late makes clients look for another server.
            assert is_at(one, servers, victim), "the holder is a client of the server to be frozen"
            with harmed(servers, victim, "freeze"):
                seen = await acting(candidates, 4 * TTL_SECONDS)
            assert max(seen) == 1, "never two"
            assert seen.count(0) * LOOK_SECONDS <= SILENT_SECONDS
            assert holder.lost == 1
            epochs = [epoch for one in candidates for epoch in one.epochs]
            assert epochs == sorted(set(epochs))
            for candidate in candidates:
                await candidate.leadership.stop()


async def test_a_holder_that_dies_with_its_server_is_followed_within_three_seconds(servers: ClusteredServers) -> None:
    """The bucket is led by another server, so that nobody waits until the servers have chosen."""
    async with client(servers, "a") as probe:
        victim = await leader_of(await leases(probe))
        other = next(name for name in NAMES if name != victim)
        async with client(servers, victim) as one, client(servers, other) as two:
            candidates = [Terms(await leases(one), "one", "pool.both"), Terms(await leases(two), "two", "pool.both")]
            candidates[0].leadership.start()
            await until_one_leads(candidates)
            placement = LeasePlacement(await leases(one), lambda: candidates[0].leadership.leading, "")
            placement.start()
            deadline = time.monotonic() + READY_SECONDS
            while await leader_of(await leases(probe)) == victim:
                assert time.monotonic() < deadline
                await asyncio.sleep(LOOK_SECONDS)
            assert candidates[0].lost == 0, "it led all the time"
            candidates[1].leadership.start()
            await asyncio.sleep(TTL_SECONDS)  # the candidate has seen that the lease is held
            with harmed(servers, victim, "freeze"):
                began = time.monotonic()
                # The machine of both: neither does anything any more.
                await end_tasks(candidates[0].leadership._task, placement._looking)
                while not candidates[1].leadership.may_act:
                    assert time.monotonic() < began + FOLLOWED_SECONDS
                    await asyncio.sleep(LOOK_SECONDS)
            await candidates[1].leadership.stop()


@pytest.mark.parametrize("harm", ["kill", "freeze", "restart"])
async def test_messages_pass_again_within_two_seconds(servers: ClusteredServers, harm: str) -> None:
    """Between clients of the two other servers none is lost; those of the lost server go to another."""
    async with client(servers, "a") as probe:
        await leases(probe)
    async with client(servers, "a") as lost, client(servers, "b") as sender, client(servers, "c") as receiver:
        arrived: dict[str, list[tuple[float, int]]] = {"lost": [], "receiver": []}
        for name, connection in (("lost", lost), ("receiver", receiver)):

            async def note(message: Msg, name: str = name) -> None:
                arrived[name].append((time.monotonic(), int(message.data)))

            await connection.subscribe("tick", cb=note)
            await connection.flush()
        await asyncio.sleep(0.3)  # interest travels between the servers

        async def tick(count: int) -> None:
            for number in range(count):
                await sender.publish("tick", b"%d" % number)
                await asyncio.sleep(LOOK_SECONDS)

        ticking = asyncio.create_task(tick(250))
        await asyncio.sleep(1.0)
        with harmed(servers, "a", harm):
            await ticking
            await asyncio.sleep(0.5)
        assert [number for _, number in arrived["receiver"]] == list(range(250))
        times = [at for at, _ in arrived["lost"]]
        gap = max(later - earlier for earlier, later in pairwise(times))
        assert gap <= GAP_SECONDS
        assert arrived["lost"][-1][1] == 249
