"""Which server is to lead a bucket, by where its writer is and where the bucket is."""

from __future__ import annotations

import pytest
from fixtures.nats import NatsProcess
from nats.js.api import ClusterInfo, PeerInfo

from sage_common.service_settings import NatsSettings
from sage_platform.bucket_leader import choose, lead_elsewhere
from sage_platform.kv import open_bucket
from sage_platform.nats_connection import connect


def led_by(leader: str, *others: str, behind: str = "", offline: str = "") -> ClusterInfo:
    peers = [PeerInfo(name=name, current=name != behind, offline=name == offline) for name in others]
    return ClusterInfo(leader=leader, replicas=peers)


@pytest.mark.parametrize(
    ("cluster", "connected", "own", "target"),
    [
        (led_by("b", "a", "c"), "a", "a", None),
        (led_by("a", "c", "b"), "a", "a", "b"),
        (led_by("a", "b", "c", behind="b"), "a", "a", "c"),
        (led_by("a", "b", "c", offline="b"), "a", "a", "c"),
        (led_by("a", "b", "c", behind="b", offline="c"), "a", "a", None),
        # Its own server was killed, and is back; it is connected with another.
        (led_by("a", "b", "c"), "b", "a", "c"),
        (led_by("b", "a", "c"), "b", "a", "c"),
        (led_by("b", "a", "c", offline="c"), "b", "a", "a"),
        (led_by("a", "b", "c", offline="c"), "b", "a", None),
        # Where it is connected is not known, nor where it is.
        (led_by("", "b", "c"), "", "", None),
    ],
)
def test_the_leader_is_neither_where_the_writer_is_nor_where_it_is_connected(
    cluster: ClusterInfo, connected: str, own: str, target: str | None
) -> None:
    assert choose(cluster, connected, own) == target


async def test_a_server_that_is_alone_is_left_alone(nats_server: NatsProcess) -> None:
    connection = await connect(NatsSettings(url=nats_server.url), name="test")
    try:
        assert await lead_elsewhere(await open_bucket(connection.jetstream(), "alone")) is None
    finally:
        await connection.close()
