"""``sage tenant``: what tenants may have, set while the mesh runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sage_cli.consoles import AsJson

if TYPE_CHECKING:
    from sage_client.management.tenants import LimitView, TenantState
    from sage_common.tenants import Tenant

app = typer.Typer(help="Give tenants limits and budgets while the mesh runs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the tenant.")]
# Lifts a limit.
NONE = "none"


@app.command(name="set")
def set_tenant(
    name: Name,
    rpm: Annotated[str | None, typer.Option(metavar="N", help="Requests a minute.")] = None,
    tpm: Annotated[str | None, typer.Option(metavar="N", help="Tokens a minute, of prompts and answers.")] = None,
    max_concurrent: Annotated[str | None, typer.Option(metavar="N", help="Requests at the same time.")] = None,
    daily_tokens: Annotated[str | None, typer.Option(metavar="N", help="Tokens a day, by UTC.")] = None,
    monthly_tokens: Annotated[str | None, typer.Option(metavar="N", help="Tokens a month.")] = None,
    daily_money: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Money a day, by the prices of `sage price`.")
    ] = None,
    monthly_money: Annotated[str | None, typer.Option(metavar="AMOUNT", help="Money a month.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="A model that it may use, with * and ?; give it again for more."),
    ] = None,
    class_ceiling: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Most urgent class: interactive, default or bulk.")
    ] = None,
    weight: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Its share where the mesh is full; others have 1.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set limits of a tenant; those not given stay as they are, and `none` lifts one."""
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    given = {
        "requests_per_minute": rpm,
        "tokens_per_minute": tpm,
        "max_concurrent": max_concurrent,
        "daily_tokens": daily_tokens,
        "monthly_tokens": monthly_tokens,
        "daily_money": daily_money,
        "monthly_money": monthly_money,
        "models": None if model is None else tuple(each for each in model if each != NONE),
        "class_ceiling": class_ceiling,
        "weight": weight,
    }
    tenant = run(_set(name, {field: value for field, value in given.items() if value is not None}))
    if as_json:
        print_json(_shown(tenant))
        return
    _print_tenants([tenant])


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show what a tenant may have, and what is left of it."""
    from sage_cli.consoles import output, print_json
    from sage_cli.fitted_tables import Column, print_rows
    from sage_cli.running import run
    from sage_common.errors import NotFoundError

    try:
        state = run(_state(name))
    except NotFoundError:
        hint = f"`sage tenant set {name} --rpm 60` sets one"
        raise NotFoundError(f"no limits of tenant {name!r} are kept; {hint}") from None
    if as_json:
        print_json(_shown(state))
        return
    _print_tenants([state])
    if state.left:
        numbers = (Column("of", right=True), Column("left", right=True))
        columns = (Column("limit"), *numbers, Column("all of it again", wrap=True))
        output().print()
        print_rows(output(), columns, [_limit_row(limit) for limit in state.left])


@app.command(name="list")
def list_tenants(as_json: AsJson = False) -> None:
    """List the tenants that have limits; all others have none."""
    from sage_cli.consoles import notes, print_json
    from sage_cli.running import run

    tenants = run(_list())
    if as_json:
        print_json([_shown(tenant) for tenant in tenants])
    elif tenants:
        _print_tenants(tenants)
    else:
        notes().print("no tenant has limits; `sage tenant set NAME --rpm 60` sets one", markup=False, style="dim")


@app.command()
def remove(name: Name, as_json: AsJson = False) -> None:
    """Remove a tenant's limits; what it has used stays in `sage usage`."""
    from sage_cli.consoles import output, print_json
    from sage_cli.running import run

    tenant = run(_remove(name))
    if as_json:
        print_json(_shown(tenant))
        return
    output().print(f"{tenant.name} has no limits any more", markup=False, soft_wrap=True)


async def _set(name: str, given: dict[str, Any]) -> Tenant:
    from sage_cli.target import tenant_management
    from sage_common.tenants import Tenant, checked

    async with tenant_management() as tenants:
        kept = next((tenant for tenant in await tenants.list_tenants() if tenant.name == name), None)
        values = {"name": name} if kept is None else kept.model_dump(exclude_none=True)
        values |= {field: None if value == NONE else value for field, value in given.items()}
        return await tenants.set_tenant(checked(Tenant, values))


async def _state(name: str) -> TenantState:
    from sage_cli.target import tenant_management

    async with tenant_management() as tenants:
        return await tenants.tenant(name)


async def _list() -> list[Tenant]:
    from sage_cli.target import tenant_management

    async with tenant_management() as tenants:
        return await tenants.list_tenants()


async def _remove(name: str) -> Tenant:
    from sage_cli.target import tenant_management

    async with tenant_management() as tenants:
        return await tenants.remove_tenant(name)


def _print_tenants(tenants: list[Tenant]) -> None:
    from sage_cli.consoles import output
    from sage_cli.fitted_tables import Column, print_rows

    columns = (Column("tenant"), Column("limits", wrap=True), Column("models", wrap=True, drop=1))
    rows = [
        (tenant.name, ", ".join(_limits(tenant)) or "none", ", ".join(tenant.models) or "all") for tenant in tenants
    ]
    print_rows(output(), columns, rows)


def _limits(tenant: Tenant) -> list[str]:
    counts = (
        ("{:,} requests/min", tenant.requests_per_minute),
        ("{:,} tokens/min", tenant.tokens_per_minute),
        ("{:,} at a time", tenant.max_concurrent),
        ("{:,} tokens/day", tenant.daily_tokens),
        ("{:,} tokens/month", tenant.monthly_tokens),
        ("{:,} money/day", tenant.daily_money),
        ("{:,} money/month", tenant.monthly_money),
        ("class {} at most", tenant.class_ceiling),
        ("weight {:g}", tenant.weight),
    )
    return [form.format(value) for form, value in counts if value is not None]


def _limit_row(limit: LimitView) -> tuple[str, ...]:
    from datetime import timedelta
    from decimal import Decimal

    what = "at a time" if limit.period == "held" else f"{limit.unit}/{limit.period}"
    again = f"in {timedelta(seconds=round(limit.resets_seconds))}" if limit.resets_seconds else ""
    return (what, f"{Decimal(limit.limit):,}", f"{Decimal(limit.left):,}", again)


def _shown(tenant: Tenant) -> dict[str, Any]:
    return tenant.model_dump(mode="json", exclude_none=True)
