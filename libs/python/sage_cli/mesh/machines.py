"""What makes this machine one of several of a mesh: its certificates, its address, and what a join token told it."""

from __future__ import annotations

import datetime
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from sage_cli.mesh.plan import MeshPlan, checked_address, checked_urls
from sage_cli.mesh.security import require_certificates
from sage_cli.mesh.services import NATS
from sage_cli.mesh.specs import own_url, server_urls
from sage_common import paths
from sage_common.errors import ConfigurationError, UnavailableError
from sage_common.ports import SagePorts
from sage_common.tls_settings import OPERATOR, mesh_servers_file
from sage_platform.mesh_tls.join_token import read_join_token
from sage_platform.mesh_tls.private_file import write_private
from sage_platform.mesh_tls.secured_folder import SecuredFolder

# Beside the certificates of a machine that has joined: the machines of the mesh's NATS cluster.
CLUSTER_FILE = "cluster"
# What a machine that joins runs where it is not told: the work grows with it, the rest is there already.
JOINING_SERVICES = ("llm-coordinator", "embed-executor")


def own_address(urls: str) -> str:
    """Return the address of this machine that the network sends to a NATS server from.

    Raises:
        UnavailableError: there is no way to it from here.
        ConfigurationError: it is no server's URL, or on this machine's loopback, so no other machine is meant.
    """
    parts = urlsplit(checked_urls(urls).split(",", 1)[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: the system chooses the way, and with it the address.
            probe.connect((parts.hostname or "", parts.port or SagePorts.NATS.value))
        except (OSError, UnicodeError) as error:
            # A name that no resolver takes is a UnicodeError.
            reason = getattr(error, "strerror", None) or error
            raise UnavailableError(
                f"no way leads from here to {parts.hostname} ({reason}); look at the address, "
                "or give this machine's own with --advertise",
                code="no_route",
            ) from None
        return checked_address(str(probe.getsockname()[0]))


def join_with(token_file: str) -> str:
    """Make this machine's certificates those of a join token; return the machines of the mesh's NATS cluster.

    Args:
        token_file: holds the token; ``-`` for standard input, empty for one that was given before.

    Raises:
        ConfigurationError: the file cannot be read, or holds no token.
        ConflictError: this machine belongs to another mesh.
        OSError: the certificates cannot be written.
    """
    folder = paths.mesh_tls_dir()
    if not token_file:
        return _text(folder / CLUSTER_FILE)
    try:
        text = sys.stdin.read() if token_file == "-" else Path(token_file).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the join token in {token_file}: {error}") from None
    token = read_join_token(text)
    token.unpack(folder)
    write_private(folder / CLUSTER_FILE, token.nats_servers.encode())
    return token.nats_servers


def agreed_cluster(given: str, known: str) -> str:
    """Return the machines of the NATS cluster of a mesh that this machine joins.

    Args:
        given: what the flag says, joined by commas; empty where it was not given.
        known: what the mesh has told; empty where it has no cluster, or has told nothing.

    Raises:
        ConfigurationError: the two are different.
    """
    named, told = ({one.strip() for one in text.split(",") if one.strip()} for text in (given, known))
    if named and told and named != told:
        raise ConfigurationError(
            f"--nats-cluster names {given}, and the mesh that this machine joins runs its NATS servers on {known}; "
            "leave the flag out: the token says it",
            code="another_cluster",
        )
    return known or given


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""


def prepare_machine(plan: MeshPlan, folder: Path | None) -> Path:
    """Make sure that this machine can be one of several, and write down what its commands reach the mesh by.

    Args:
        folder: its certificates, None where there are none.

    Returns:
        The folder.

    Raises:
        ConfigurationError: a certificate is missing, or the address is.
        OSError: the folder cannot be written.
    """
    if not plan.advertise:
        raise ConfigurationError("one machine of several needs an address that others reach it at: --advertise ADDRESS")
    if plan.cluster and not plan.join and plan.advertise not in plan.cluster:
        raise ConfigurationError(
            f"--advertise is {plan.advertise}, which is not among the machines of --nats-cluster "
            f"({plan.nats_servers}); the first machine of a mesh runs one of its NATS servers"
        )
    services = [name for name, count in plan.replicas.items() if count > 0]
    runs_nats = not plan.join or plan.advertise in plan.cluster
    checked = require_certificates(folder, [*services, OPERATOR, *([NATS] if runs_nats else [])])
    secured = SecuredFolder(checked, datetime.datetime.now(datetime.timezone.utc))
    # Kept from here on: machines that join are told it once.
    secured.mesh_token()
    if (checked / "authority" / "key.pem").is_file():
        secured.secure([plan.advertise])
    own = [own_url(), own_url(plan.advertise)] if runs_nats else []
    urls = [*(server_urls(plan) or plan.join).split(","), *own]
    write_private(mesh_servers_file(), "".join(f"{url}\n" for url in urls if url).encode())
    return checked
