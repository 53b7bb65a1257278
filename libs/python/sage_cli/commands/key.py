"""``sage key``: API keys made, listed, rotated and revoked while the mesh runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sage_cli.consoles import AsJson

if TYPE_CHECKING:
    from sage_client.management.api_keys import KeyView, NewKey

app = typer.Typer(help="Make and revoke API keys while the mesh runs.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="Id of the key; `sage key list` shows it.")]


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(help="Whose key it is.")],
    operator: Annotated[bool, typer.Option("--operator", help="Its holder may give orders.")] = False,
    label: Annotated[str, typer.Option(help="What to call it.")] = "",
    expires_in: Annotated[str, typer.Option(metavar="TIME", help="30d, 12h: how long it is valid.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a key, and show it this once. From the first on, every caller of the mesh needs one."""
    from sage_cli.running import run

    lifetime = _seconds(expires_in, "--expires-in") if expires_in else 0
    made, is_first = run(_create(tenant, operator, label, lifetime))
    _show_new(made, as_json)
    if is_first:
        _note("this is the mesh's first key: from now on every caller needs one, over HTTP and gRPC")


@app.command(name="list")
def list_keys(as_json: AsJson = False) -> None:
    """List the keys, the oldest first; revoked and expired ones too."""
    import time
    from dataclasses import asdict

    from sage_cli.consoles import output, print_json
    from sage_cli.fitted_tables import Column, print_rows
    from sage_cli.running import run

    keys = run(_list())
    if as_json:
        print_json([asdict(key) for key in keys])
        return
    if not keys:
        _note("no key was made; `sage key create TENANT` makes one")
        return
    columns = (
        Column("id"),
        Column("tenant"),
        Column("state"),
        Column("rights", drop=3),
        Column("label", wrap=True, drop=2),
        Column("made", drop=4),
        Column("expires", drop=1),
    )
    now = time.time() * 1000
    rows = [
        (
            key.id,
            key.tenant,
            key.state(now),
            "operator" if key.operator else "",
            key.label,
            _date(key.created_unix_ms),
            _date(key.expires_unix_ms),
        )
        for key in keys
    ]
    print_rows(output(), columns, rows)


@app.command()
def rotate(
    key_id: KeyId,
    grace: Annotated[str, typer.Option(metavar="TIME", help="1h, 1d: how long the old key stays valid.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make another key for the same holder, and show it this once; the old one ends."""
    from sage_cli.running import run

    seconds = _seconds(grace, "--grace") if grace else 0
    made = run(_rotate(key_id, seconds))
    _show_new(made, as_json)
    _note(f"{key_id} is valid for {grace} more" if seconds else f"{key_id} is revoked")


@app.command()
def revoke(
    key_id: KeyId,
    forget: Annotated[
        bool, typer.Option("--forget", help="Also remove it from the list; with the last one the mesh opens again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """End a key at once, and the answers that its holder is getting."""
    from sage_cli.consoles import output, print_json
    from sage_cli.running import run

    key = run(_revoke(key_id, forget))
    if as_json:
        print_json(key)
        return
    output().print(f"{key.id} of {key.tenant} is revoked", markup=False, soft_wrap=True)


async def _create(tenant: str, operator: bool, label: str, lifetime_seconds: int) -> tuple[NewKey, bool]:
    from sage_cli.target import key_management

    async with key_management() as keys:
        is_first = not await keys.list_keys()
        made = await keys.create(tenant, operator=operator, label=label, lifetime_seconds=lifetime_seconds)
        return made, is_first


async def _list() -> list[KeyView]:
    from sage_cli.target import key_management

    async with key_management() as keys:
        return await keys.list_keys()


async def _rotate(key_id: str, grace_seconds: int) -> NewKey:
    from sage_cli.target import key_management

    async with key_management() as keys:
        return await keys.rotate(key_id, grace_seconds=grace_seconds)


async def _revoke(key_id: str, forget: bool) -> KeyView:
    from sage_cli.target import key_management

    async with key_management() as keys:
        return await keys.revoke(key_id, forget=forget)


def _show_new(made: NewKey, as_json: bool) -> None:
    from dataclasses import asdict

    from sage_cli.consoles import print_json

    if as_json:
        print_json({**asdict(made.key), "secret": made.secret})
        return
    # The key alone goes to stdout, for scripts.
    _note(f"key {made.key.id} of {made.key.tenant}; keep it now, it is not shown again:")
    typer.echo(made.secret)


def _note(text: str) -> None:
    from sage_cli.consoles import notes

    notes().print(text, markup=False, style="dim")


def _seconds(text: str, option: str) -> int:
    from sage_kernel.durations import parse_duration

    try:
        microseconds = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
    if microseconds < 1_000_000:
        raise typer.BadParameter(f"{text} is less than a second", param_hint=option)
    return microseconds // 1_000_000


def _date(unix_ms: int | None) -> str:
    from datetime import datetime

    return "" if unix_ms is None else f"{datetime.fromtimestamp(unix_ms / 1000):%Y-%m-%d %H:%M}"
