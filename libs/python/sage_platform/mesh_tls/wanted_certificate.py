"""What the certificates of a mesh say: whose each is, and which names and addresses it is good for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sage_common.tls_settings import ANY_SERVICE, internal_name
from sage_platform.mesh_tls.nats_configuration import NATS
from sage_platform.mesh_tls.nats_rights import SERVICES

FRONT = "front"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Wanted:
    """What a certificate should say."""

    common_name: str
    hosts: tuple[str, ...]
    identity: str
    clients: bool
    name: str = ""
    generation: int = 0


def wanted_of(name: str, hosts: Sequence[str]) -> Wanted:
    """What an identity's certificate says; ``hosts`` only of NATS, whose servers look at each other's addresses."""
    names = [internal_name(name), *([internal_name(ANY_SERVICE)] if name in SERVICES else ())]
    reached = dict.fromkeys((*LOCAL_HOSTS, *hosts)) if name == NATS else ()
    return Wanted(f"sage {name}", (*names, *reached), name, clients=True)


def wanted_front(hosts: Sequence[str]) -> Wanted:
    """What the certificate says that clients of the HTTP API see."""
    return Wanted("sage gateway front", tuple(dict.fromkeys(hosts)), "", clients=False, name=FRONT)
