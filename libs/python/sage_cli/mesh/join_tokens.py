"""Making the token by which another machine joins the mesh that runs here."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from sage_cli.mesh.plan import PLAN_FACT, MeshPlan, checked_address
from sage_cli.mesh.running_supervisor import local_state
from sage_common import paths
from sage_common.errors import ConfigurationError
from sage_common.ports import SagePorts
from sage_platform.mesh_tls.join_token import JoinToken
from sage_platform.mesh_tls.nats_configuration import NATS
from sage_platform.mesh_tls.nats_rights import SERVICES
from sage_platform.mesh_tls.secured_folder import SecuredFolder


@dataclass(frozen=True)
class MadeToken:
    """A token, and the URL to join by."""

    token: JoinToken
    url: str


def make_join_token(hosts: Sequence[str], services: Sequence[str] | None, days: int) -> MadeToken:
    """Make one for the mesh that runs here.

    Args:
        hosts: addresses of the machine that is to join. One that is to run a server of the mesh's NATS cluster, and no
            other, gets what that takes.
        services: what it may run; None for all.
        days: how long its certificates are valid.

    Raises:
        ConfigurationError: no mesh runs here that others could join, an address is none, or the authority is elsewhere.
        OSError: the folder cannot be written.
    """
    state = local_state()
    text = state.facts.get(PLAN_FACT) if state else None
    plan = MeshPlan.from_json(text) if text else None
    if plan is None or not plan.advertise:
        raise ConfigurationError(
            f"{'no mesh runs here' if plan is None else 'the mesh here listens on this machine alone'}, so nobody can "
            "join it: `sage mesh secure`, then `sage up --advertise ADDRESS`, with this machine's address",
            code="not_advertised",
        )
    folder = SecuredFolder(paths.mesh_tls_dir(), datetime.datetime.now(datetime.timezone.utc))
    reached = list(dict.fromkeys(checked_address(host) for host in hosts))
    # The certificate of a NATS server and the cluster's password cannot be revoked one by one.
    runs_nats = not set(plan.cluster).isdisjoint(reached)
    chosen = [*(SERVICES if services is None else services), *([NATS] if runs_nats else [])]
    files = folder.issued_for(reached, chosen, days)
    token = JoinToken(files, folder.mesh_token(), plan.nats_servers)
    return MadeToken(token, f"nats://{plan.advertise}:{SagePorts.NATS.here}")
