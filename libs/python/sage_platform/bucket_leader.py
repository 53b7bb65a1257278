"""Which server of a NATS cluster leads a bucket: whoever relies on it most had better not lose both at once.

What is written to a bucket goes through its leader among the servers. When that one dies, the others take 4 to 9 s to
choose another (constants of nats-server's Raft). A holder of a lease goes on meanwhile, as nobody can take its lease
either (see ``leases``); but where the holder dies with that server, nobody can take it for all that time. So the
bucket's leader is moved to a server that neither dies with the holder's machine nor with its connection. A server that
lives hands over in milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from nats.js.api import ClusterInfo
from nats.js.kv import KeyValue

from sage_platform.nats_cluster import copies_on

API = "$JS.API.STREAM.LEADER.STEPDOWN"
MOVE_SECONDS = 2.0


async def lead_elsewhere(bucket: KeyValue, *, own_server: str = "") -> str | None:
    """Have another server lead ``bucket`` where it is led by the one that this process is connected with, or its own.

    Args:
        own_server: name of the server on this process's machine; empty where there is none, or it is not known.

    Returns:
        The server that was asked to lead; None where nothing had to be done, or no other has all of the bucket.

    Raises:
        nats.errors.Error, asyncio.TimeoutError: JetStream does not answer, or refuses.
    """
    connection = bucket._js._nc
    if copies_on(connection) == 1:
        return None
    cluster = (await bucket._js.stream_info(bucket._stream)).cluster
    if cluster is None:
        return None
    connected = str(connection._server_info.get("server_name", ""))
    target = choose(cluster, connected, own_server)
    if target is not None:
        order = json.dumps({"placement": {"preferred": target}}).encode()
        await bucket._js._api_request(f"{API}.{bucket._stream}", order, timeout=MOVE_SECONDS)
    return target


def choose(cluster: ClusterInfo, connected: str, own_server: str) -> str | None:
    """Return the server that is to lead in place of the one that does; None where that one may stay."""
    avoided: Collection[str] = {connected, own_server} - {""}
    if cluster.leader not in avoided:
        return None
    able = sorted(str(peer.name) for peer in cluster.replicas or () if peer.current and not peer.offline)
    apart = [name for name in able if name not in avoided]
    if apart:
        return apart[0]
    # The connection is lost more often than the machine: a server is started again, and connected with no more.
    return next((name for name in able if name != connected), None) if cluster.leader == connected else None
