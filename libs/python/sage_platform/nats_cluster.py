"""Several NATS servers as one: what each is told of the others, and how many of them keep a copy of each stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from nats.aio.client import Client

NAME = "sage"
USER = "route"
ANY_ADDRESS = "0.0.0.0"
# A server that stays away without a word, as behind a cut cable, is missed after two pings. Leases rely on its being no
# sooner than a second, see ``leases``.
PING_SECONDS = 1
# Two of three servers go on when one is lost; two of two would not. NATS advises against more than five.
LEAST_SERVERS = 3
COPIES = 3
# Among a connection's options: how many servers it was given, which are fewer than it has heard of, or more than run.
GIVEN_SERVERS = "sage_given_servers"


@dataclass(frozen=True)
class NatsCluster:
    """One server's place in a cluster.

    Attributes:
        own: address that the others reach it at.
        others: addresses of the others.
        port: of the routes between them, the same on each.
        client_port: of the clients, the same on each.
        password: what they ask each other for, beside a certificate of the mesh: any service has one of those.
    """

    own: str
    others: Sequence[str]
    port: int
    client_port: int
    password: str = field(repr=False)

    def configuration(self, tls_folder: Path) -> dict[str, object]:
        """Return what nats-server's configuration says of it."""
        secret = quote(self.password, safe="")
        return {
            "server_name": self.own,
            "client_advertise": f"{self.own}:{self.client_port}",
            "cluster": {
                "name": NAME,
                "host": ANY_ADDRESS,
                "port": self.port,
                "advertise": f"{self.own}:{self.port}",
                "routes": [f"nats-route://{USER}:{secret}@{other}:{self.port}" for other in self.others],
                "authorization": {"user": USER, "password": self.password},
                "ping_interval": f"{PING_SECONDS}s",
                "tls": {
                    "cert_file": str(tls_folder / "certificate.pem"),
                    "key_file": str(tls_folder / "key.pem"),
                    "ca_file": str(tls_folder / "ca.pem"),
                    "verify": True,
                },
            },
        }


def copies_on(connection: Client) -> int:
    """Return how many servers are to keep each stream: three where the client was given as many, else one."""
    return COPIES if connection.options.get(GIVEN_SERVERS, 1) >= LEAST_SERVERS else 1
