"""``sage model``: the names that callers use for models, and what is behind each, set while the mesh runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sage_cli.consoles import AsJson

if TYPE_CHECKING:
    from sage_common.model_routes import ModelRoute, RouteFallback, RouteTarget

app = typer.Typer(
    help="Give models names: aliases, splits, fallbacks and defaults, while the mesh runs.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name that callers use; it may be a served model's.")]
# Takes what is set away.
NONE = "none"


@app.command(name="set")
def set_model(
    name: Name,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL[=WEIGHT]",
            help="What is behind the name; give it again for a split. Without one, the served model NAME.",
        ),
    ] = None,
    fallback: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL[=REASON,…]",
            help="What to go on with, in order; on refusal, failure, context_length, or all of them.",
        ),
    ] = None,
    default: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="What requests have that do not say it, such as temperature=0.2."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set what is behind a name. What is not given stays as it is; `none` takes it away."""
    from sage_cli.consoles import print_json
    from sage_cli.running import run

    given: dict[str, Any] = {}
    if target is not None:
        given["targets"] = [_target(each) for each in target if each != NONE]
    if fallback is not None:
        given["fallbacks"] = [_fallback(each) for each in fallback if each != NONE]
    if default is not None:
        given["defaults"] = dict(_default(each) for each in default if each != NONE)
    route = run(_set(name, given))
    if as_json:
        print_json(_shown(route))
        return
    _print_routes([route])


@app.command(name="list")
def list_models(as_json: AsJson = False) -> None:
    """List the names that have something behind them; `sage models` lists them with the served models."""
    from sage_cli.consoles import notes, print_json
    from sage_cli.running import run

    routes = run(_list())
    if as_json:
        print_json([_shown(route) for route in routes])
    elif routes:
        _print_routes(routes)
    else:
        hint = "no model route is set; `sage model set NAME --target MODEL --fallback OTHER` sets one"
        notes().print(hint, markup=False, style="dim")


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show what is behind a name."""
    from sage_cli.consoles import print_json
    from sage_cli.running import run
    from sage_common.errors import NotFoundError

    route = next((each for each in run(_list()) if each.name == name), None)
    if route is None:
        raise NotFoundError(f"no model route {name!r} is set; `sage model set {name} --target MODEL` sets one")
    if as_json:
        print_json(_shown(route))
        return
    _print_routes([route])


@app.command()
def drop(name: Name, as_json: AsJson = False) -> None:
    """Drop a name; a served model that is called so stays."""
    from sage_cli.consoles import output, print_json
    from sage_cli.running import run

    route = run(_drop(name))
    if as_json:
        print_json(_shown(route))
        return
    output().print(f"{route.name} is no model route any more", markup=False, soft_wrap=True)


def _target(text: str) -> dict[str, Any]:
    model, equals, weight = text.rpartition("=")
    return {"model": model, "weight": weight} if equals else {"model": text}


def _fallback(text: str) -> dict[str, Any]:
    model, equals, reasons = text.rpartition("=")
    return {"model": model, "on": reasons.split(",")} if equals else {"model": text}


def _default(text: str) -> tuple[str, Any]:
    field, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not FIELD=VALUE", param_hint="--default")
    return field, [value] if field == "stop" else value


async def _set(name: str, given: dict[str, Any]) -> ModelRoute:
    from sage_cli.target import model_management
    from sage_common.model_routes import ModelRoute
    from sage_common.tenants import checked

    async with model_management() as models:
        kept = next((route for route in await models.all() if route.name == name), None)
        values = {"name": name} if kept is None else kept.model_dump(mode="json", exclude_none=True)
        return await models.put(checked(ModelRoute, {**values, **given}))


async def _list() -> list[ModelRoute]:
    from sage_cli.target import model_management

    async with model_management() as models:
        return await models.all()


async def _drop(name: str) -> ModelRoute:
    from sage_cli.target import model_management

    async with model_management() as models:
        return await models.remove(name)


def _print_routes(routes: list[ModelRoute]) -> None:
    from sage_cli.consoles import output
    from sage_cli.fitted_tables import Column, print_rows

    columns = (
        Column("name", wrap=True),
        Column("model", wrap=True),
        Column("then", wrap=True),
        Column("defaults", wrap=True),
    )
    rows = [
        (
            route.name,
            ", ".join(_split(route.split)),
            ", ".join(_fallback_text(each) for each in route.fallbacks),
            ", ".join(f"{field} {value}" for field, value in route.defaults.given.items()),
        )
        for route in routes
    ]
    print_rows(output(), columns, rows)


def _split(targets: tuple[RouteTarget, ...]) -> list[str]:
    if len(targets) == 1:
        return [targets[0].model]
    whole = sum(target.weight for target in targets)
    return [f"{target.weight / whole:.3g} {target.model}" for target in targets]


def _fallback_text(fallback: RouteFallback) -> str:
    from sage_common.model_routes import ALL_REASONS

    if set(fallback.on) == set(ALL_REASONS):
        return fallback.model
    return f"{fallback.model} on {' or '.join(fallback.on).replace('_', ' ')}"


def _shown(route: ModelRoute) -> dict[str, Any]:
    return route.model_dump(mode="json", exclude_none=True)
