"""How a secured mesh is run and shown: the certificate of each process, and which of them soon end."""

from __future__ import annotations

import datetime
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sage_cli.mesh.plan import PLAN_FACT, MeshPlan
from sage_common import paths
from sage_common.errors import ConfigurationError
from sage_common.tls_settings import FOLDER_VARIABLE, OPERATOR
from sage_platform.mesh_tls.nats_configuration import NATS
from sage_platform.supervision.state_file import SupervisorState

if TYPE_CHECKING:
    from sage_platform.mesh_tls.secured_folder import CertificateState

# Fact of a supervisor's state, there where its mesh is secured.
TLS_FACT = "tls"
SECONDS_A_DAY = 86_400
WARN_DAYS = 30


def secured_folder() -> Path | None:
    """Return the folder of this user's certificates; None where no mesh was secured, or joined."""
    folder = paths.mesh_tls_dir()
    return folder if (folder / OPERATOR / "certificate.pem").is_file() else None


def require_certificates(folder: Path | None, services: Sequence[str]) -> Path:
    """Return the folder, which a mesh of several machines has to have.

    Raises:
        ConfigurationError: it is not there, or lacks the certificate of one of ``services``.
    """
    if folder is None:
        raise ConfigurationError(
            "a mesh of several machines has to be secured, since others are on the network between: `sage mesh secure` "
            "first, on the machine that the others join; a machine that joins gets its certificates with "
            "`--token FILE`, which `sage mesh token` writes there",
            code="not_secured",
        )
    missing = [name for name in services if not (folder / name / "certificate.pem").is_file()]
    if NATS in missing:
        raise ConfigurationError(
            f"{folder} has no certificate for a NATS server, and this machine is one of the mesh's NATS cluster: "
            "`sage mesh token --host ADDRESS` makes a token for it, with its address in --nats-cluster",
            code="no_certificate",
        )
    if missing:
        raise ConfigurationError(
            f"{folder} has no certificate for {', '.join(missing)}: the join token was made for other services; "
            f"`sage mesh token --services {','.join(missing)}` makes one for these",
            code="no_certificate",
        )
    return folder


def tls_variables(folder: Path | None, service: str) -> dict[str, str]:
    """Return the variables by which a service finds its certificate; none in a mesh that is not secured."""
    return {} if folder is None else {FOLDER_VARIABLE: str(folder / service)}


def own_certificates() -> Sequence[CertificateState]:
    """Return this user's certificates, the one that ends first coming first."""
    # Reading certificates takes a library that no other mesh needs.
    from sage_platform.mesh_tls.secured_folder import SecuredFolder

    folder = SecuredFolder(paths.mesh_tls_dir(), datetime.datetime.now(datetime.timezone.utc))
    return sorted(folder.states(), key=lambda state: state.expires_unix_seconds)


def has_joined() -> bool:
    """Return whether this machine has joined a mesh, whose certificates another machine makes."""
    from sage_platform.mesh_tls.secured_folder import SecuredFolder

    return SecuredFolder(paths.mesh_tls_dir(), datetime.datetime.now(datetime.timezone.utc)).joined


def certificate_warnings(
    certificates: Sequence[CertificateState], now_unix_seconds: float, *, joined: bool = False
) -> tuple[str, ...]:
    """Return a sentence for each certificate that has ended, or ends within a month.

    Args:
        joined: whether they were made on another machine.
    """
    from sage_platform.mesh_tls.secured_folder import RENEW_JOINED

    remedy = RENEW_JOINED if joined else "`sage mesh secure --renew` makes another"
    found = []
    for state in certificates:
        days = state.days_left(now_unix_seconds)
        if days < WARN_DAYS:
            ends = f"ends in {days:.0f} days" if days > 0 else f"ended {-days:.0f} days ago"
            found.append(f"the certificate of {state.name} {ends}; {remedy}")
    return tuple(found)


def revocation_steps(state: SupervisorState | None, *, reloaded: bool) -> tuple[str, ...]:
    """Return what has to be done before every process of the mesh refuses what was revoked here; nothing where all do.

    Args:
        reloaded: whether the NATS server of this machine has read it.
    """
    from sage_platform.mesh_tls.secured_folder import KEPT_TOKEN

    text = state.facts.get(PLAN_FACT) if state else None
    plan = MeshPlan.from_json(text) if text else None
    steps = []
    if (plan is not None and (plan.advertise or plan.cluster)) or (paths.mesh_tls_dir() / KEPT_TOKEN).is_file():
        cluster = [address for address in plan.cluster if address != plan.advertise] if plan else []
        named = f": {', '.join(cluster)} of the NATS cluster, and any other that has joined" if cluster else ""
        steps.append(
            f"the other machines of the mesh know nothing of it{named}. Until they do, they let the revoked ones in "
            "and refuse the new. For each of them, here: `sage mesh token --host ADDRESS --output FILE`; there, while "
            "its mesh runs: `sage mesh renew FILE`"
        )
    if not reloaded:
        steps.append(
            "a NATS server that `sage up` does not run here refuses them once it has nats/authorization.conf and SIGHUP"
        )
    return tuple(steps)


def reload_nats(state: SupervisorState | None) -> bool:
    """Have the NATS server of this user's mesh read its certificate again; return whether there is one."""
    pids: Sequence[int] = [
        status.identity.pid
        for status in (state.processes if state else ())
        if status.service == NATS and status.identity is not None and status.identity.process() is not None
    ]
    for pid in pids:
        os.kill(pid, signal.SIGHUP)
    return bool(pids)
