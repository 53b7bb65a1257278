"""``sage mesh``: the security of the mesh that this user runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sage_cli.consoles import AsJson

app = typer.Typer(help="Secure the mesh that `sage up` runs, and let other machines join it.", no_args_is_help=True)


@app.command()
def secure(
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name or address that clients reach the gateway by, beside localhost; may be repeated."),
    ] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Make every certificate again, not only those that end.")
    ] = False,
    days: Annotated[int, typer.Option(min=1, max=825, help="How long new certificates are valid.")] = 365,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove all certificates: the next `sage up` is in the clear.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make certificates for every service, NATS, the gateway's clients and this user's commands.

    The next `sage up` runs NATS and gRPC over mutual TLS, each service with rights of its own on NATS. What is there
    and still good stays as it is, so this can be run again at any time; a mesh that runs takes renewed certificates up.
    """
    import datetime
    import time

    from rich.table import Table

    from sage_cli.consoles import notes, output, print_json
    from sage_cli.mesh.running_supervisor import local_state
    from sage_cli.mesh.security import TLS_FACT, reload_nats
    from sage_common import paths
    from sage_platform.mesh_tls.secured_folder import SecuredFolder, remove_folder

    path, state = paths.mesh_tls_dir(), local_state()
    secured_now = state is not None and TLS_FACT in state.facts
    if remove:
        removed = remove_folder(path)
        if as_json:
            print_json({"folder": str(path), "removed": removed})
        notes().print(f"removed {path}" if removed else "no mesh was secured", markup=False)
        if removed and secured_now:
            notes().print("the mesh that runs is still secured; `sage down` and `sage up` open it", style="yellow")
        return
    now = time.time()
    at = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
    states = SecuredFolder(path, at).secure(host or (), renew=renew, days=days)
    made = [one.name for one in states if one.made]
    reloaded = secured_now and "nats" in made and reload_nats(state)
    restart = state is not None and not secured_now
    if as_json:
        print_json(
            {
                "folder": str(path),
                "made": made,
                "reloaded": reloaded,
                "restart_needed": restart,
                "certificates": states,
            }
        )
        return
    table = Table("certificate", "valid for", "", box=None)
    for one in states:
        table.add_row(one.name, f"{one.days_left(now):.0f} days", "made" if one.made else "kept")
    output().print(table)
    notes().print(f"in {path}; authority/key.pem there signs new ones: keep it", markup=False, soft_wrap=True)
    if restart:
        notes().print("the mesh that runs is not secured yet: `sage down`, then `sage up`", style="yellow")
    elif state is None:
        notes().print("`sage up` uses them; SAGE_GATEWAY_HTTPS=true also makes the gateway's API https")


@app.command()
def secrets(
    folder: Annotated[
        Path, typer.Argument(help="Where the mesh's authority and keys are kept; made where it is not there.")
    ],
    namespace: Annotated[str, typer.Option(help="The namespace of the mesh.")] = "sage",
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name or address that clients reach the gateway by, beside its Service; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the secrets of a mesh in Kubernetes, for `kubectl apply -f -`: certificates, tokens, an operator's key.

    Run again it prints the same, but for certificates that end within 30 days, which it makes again. Keep the folder:
    whoever has the authority's key in it can be anyone in the mesh.
    """
    import datetime

    from sage_cli.consoles import notes, print_json
    from sage_platform.mesh_tls.kubernetes_secrets import NATS_HOSTS, gateway_hosts, kubernetes_secrets
    from sage_platform.mesh_tls.secured_folder import SecuredFolder

    hosts = (*gateway_hosts(namespace), *NATS_HOSTS, *(host or ()))
    states = SecuredFolder(folder, datetime.datetime.now(datetime.timezone.utc)).secure(hosts)
    print_json({"apiVersion": "v1", "kind": "List", "items": kubernetes_secrets(folder, namespace)})
    made = [one.name for one in states if one.made]
    notes().print(f"in {folder}; made now: {', '.join(made) or 'nothing'}", markup=False, soft_wrap=True)


@app.command()
def token(
    host: Annotated[
        list[str] | None,
        typer.Option(help="Address of the machine that is to join, for its certificates; may be repeated."),
    ] = None,
    services: Annotated[
        str,
        typer.Option(help="Services that it may run, joined by commas; all where left out.", metavar="NAMES"),
    ] = "",
    days: Annotated[int, typer.Option(min=1, max=825, help="How long its certificates are valid.")] = 365,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it to this file, for its owner to read.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a token by which another machine joins this mesh: `sage up --join URL --token FILE` there.

    It holds certificates with their keys, and the mesh's own token: whoever has it is the services named, and an
    operator. Pass it on as you would a password.
    """
    from sage_cli.consoles import notes, print_json
    from sage_cli.mesh.join_tokens import make_join_token
    from sage_cli.mesh.services import service
    from sage_platform.mesh_tls.private_file import write_private

    names = [service(name).name for name in services.split(",") if name.strip()] or None
    made = make_join_token(host or (), names, days)
    encoded = made.token.encode()
    if output is not None:
        write_private(output, encoded.encode() + b"\n")
    if as_json:
        print_json({"url": made.url, "file": str(output)} if output else {"url": made.url, "token": encoded})
        return
    if output is None:
        typer.echo(encoded)
    notes().print(f"on the other machine: sage up --join {made.url} --token FILE", markup=False, soft_wrap=True)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The identity: a service, such as 'gateway', 'client' or 'operator'.")],
    as_json: AsJson = False,
) -> None:
    """Make every certificate that an identity has had worth nothing, and a new one for it.

    NATS and the services of the mesh refuse the old ones within a second, on connections that are open too. Processes
    of that identity take the new one up by themselves where they read this folder. Other machines of the mesh need a
    new token each (`sage mesh token`, and `sage mesh renew` there); what to do is said.
    """
    import datetime

    from sage_cli.consoles import notes, print_json
    from sage_cli.mesh.running_supervisor import local_state
    from sage_cli.mesh.security import TLS_FACT, reload_nats, revocation_steps
    from sage_common import paths
    from sage_common.errors import NotFoundError
    from sage_platform.mesh_tls.secured_folder import SecuredFolder

    path, state = paths.mesh_tls_dir(), local_state()
    folder = SecuredFolder(path, datetime.datetime.now(datetime.timezone.utc))
    if not folder.states():
        raise NotFoundError("no mesh was secured here; `sage mesh secure` makes certificates", code="not_secured")
    states = folder.revoke(name)
    reloaded = state is not None and TLS_FACT in state.facts and reload_nats(state)
    steps = revocation_steps(state, reloaded=reloaded)
    if as_json:
        told = {"folder": str(path), "revoked": name, "reloaded": reloaded, "certificates": states}
        print_json({**told, "steps": steps})
        return
    notes().print(f"the certificates that {name} had are revoked; a new one is in {path / name}", markup=False)
    for step in steps:
        notes().print(step, markup=False, style="yellow", soft_wrap=True)


@app.command()
def rotate(as_json: AsJson = False) -> None:
    """Make another token of a mesh of several machines, and another password of its NATS cluster.

    Every machine that has joined knows both, and they are not revoked with a certificate. What runs keeps the old ones:
    the mesh has to be brought down, and each machine needs a new join token. A mesh of one machine has another token
    with every `sage up`.
    """
    import datetime

    from sage_cli.consoles import notes, print_json
    from sage_common import paths
    from sage_common.errors import NotFoundError
    from sage_platform.mesh_tls.secured_folder import KEPT_TOKEN, SecuredFolder

    path = paths.mesh_tls_dir()
    if not (path / KEPT_TOKEN).is_file():
        raise NotFoundError(
            "no mesh of several machines is kept here; one of a single machine has another token with every `sage up`",
            code="no_mesh_token",
        )
    SecuredFolder(path, datetime.datetime.now(datetime.timezone.utc)).rotate_secrets()
    if as_json:
        print_json({"folder": str(path), "rotated": True})
        return
    notes().print("the mesh has another token from its next start on, and its NATS cluster another password")
    notes().print(
        "`sage down` on every machine, then `sage up` here, and for each other machine `sage mesh token --host ADDRESS "
        "--output FILE` here and `sage up --join URL --token FILE` there",
        markup=False,
        style="yellow",
        soft_wrap=True,
    )


@app.command()
def renew(
    token: Annotated[str, typer.Argument(help="File with the new token; - reads standard input.", metavar="FILE")],
    as_json: AsJson = False,
) -> None:
    """Take up a newer join token on a machine that has joined a mesh, also while its mesh runs.

    It brings certificates that are valid for longer, and what was revoked since. Services here refuse the revoked ones
    at once, as does a NATS server that runs here.
    """
    from sage_cli.consoles import notes, print_json
    from sage_cli.mesh.machines import join_with
    from sage_cli.mesh.running_supervisor import local_state
    from sage_cli.mesh.security import TLS_FACT, has_joined, own_certificates, reload_nats
    from sage_common import paths
    from sage_common.errors import ConflictError

    path, state = paths.mesh_tls_dir(), local_state()
    if not has_joined():
        raise ConflictError(
            f"{path} is not of a machine that has joined a mesh: `sage up --join URL --token FILE` joins one, and "
            "`sage mesh secure --renew` makes certificates again where they were made",
            code="not_joined",
        )
    before = {one.name: Path(one.file).read_bytes() for one in own_certificates()}
    join_with(token)
    after = {one.name: Path(one.file).read_bytes() for one in own_certificates()}
    renewed = sorted(name for name, content in after.items() if content != before.get(name))
    kept = sorted(after.keys() - set(renewed))
    reloaded = state is not None and TLS_FACT in state.facts and reload_nats(state)
    if as_json:
        print_json({"folder": str(path), "renewed": renewed, "kept": kept, "reloaded": reloaded})
        return
    notes().print(f"new certificates in {path}: {', '.join(renewed) or 'none'}", markup=False, soft_wrap=True)
    if kept:
        notes().print(f"the token has none for {', '.join(kept)}, whose old ones were kept", style="yellow")
