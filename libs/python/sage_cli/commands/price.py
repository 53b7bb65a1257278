"""``sage price``: what models cost, for budgets and accounts in money."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sage_cli.consoles import AsJson

if TYPE_CHECKING:
    from sage_common.prices import Price

app = typer.Typer(help="Say what models cost, for budgets in money.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model; `*` for all that are not named.")]


@app.command(name="set")
def set_price(
    model: Model,
    prompt: Annotated[str, typer.Option(metavar="AMOUNT", help="For a million tokens of prompts and inputs.")],
    completion: Annotated[str, typer.Option(metavar="AMOUNT", help="For a million generated tokens.")] = "0",
    cached: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="For a million tokens of prompts that were cached; else as --prompt."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set what a model costs, in whatever currency your budgets are."""
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    price = run(_set({"model": model, "prompt": prompt, "completion": completion, "cached_prompt": cached}))
    if as_json:
        print_json(_shown(price))
        return
    _print_prices([price])


@app.command(name="list")
def list_prices(as_json: AsJson = False) -> None:
    """List the prices."""
    from sage_cli.consoles import notes, print_json
    from sage_cli.running import run

    prices = run(_list())
    if as_json:
        print_json([_shown(price) for price in prices])
    elif prices:
        _print_prices(prices)
    else:
        notes().print("no model has a price; `sage price set MODEL --prompt 0.15` sets one", markup=False, style="dim")


@app.command()
def remove(model: Model, as_json: AsJson = False) -> None:
    """Remove a model's price."""
    from sage_cli.consoles import output, print_json
    from sage_cli.running import run

    price = run(_remove(model))
    if as_json:
        print_json(_shown(price))
        return
    output().print(f"{price.model} has no price any more", markup=False, soft_wrap=True)


async def _set(given: dict[str, Any]) -> Price:
    from sage_cli.target import tenant_management
    from sage_common.prices import Price
    from sage_common.tenants import checked

    async with tenant_management() as tenants:
        return await tenants.set_price(checked(Price, given))


async def _list() -> list[Price]:
    from sage_cli.target import tenant_management

    async with tenant_management() as tenants:
        return await tenants.list_prices()


async def _remove(model: str) -> Price:
    from sage_cli.target import tenant_management

    async with tenant_management() as tenants:
        return await tenants.remove_price(model)


def _print_prices(prices: list[Price]) -> None:
    from sage_cli.consoles import output
    from sage_cli.fitted_tables import Column, print_rows

    columns = (Column("model", wrap=True), Column("prompt"), Column("cached"), Column("completion"))
    rows = [
        (
            price.model,
            f"{price.prompt:f}",
            f"{price.prompt if price.cached_prompt is None else price.cached_prompt:f}",
            f"{price.completion:f}",
        )
        for price in prices
    ]
    print_rows(output(), columns, rows)


def _shown(price: Price) -> dict[str, Any]:
    return price.model_dump(mode="json", exclude_none=True)
