"""``sage engine preset``: ready-made ways to run vLLM."""

from __future__ import annotations

from typing import Annotated

import typer

from sage_cli.commands.engine_servers import Wait, start_engine
from sage_cli.consoles import AsJson

app = typer.Typer(help="Ready-made ways to run vLLM, and files of your own.", no_args_is_help=True)


@app.command(name="list")
def list_presets(as_json: AsJson = False) -> None:
    """List the presets that come with SAGE."""
    from sage_cli.consoles import output, print_json
    from sage_cli.fitted_tables import Column, print_rows
    from sage_client.presets.preset import built_in

    presets = built_in()
    if as_json:
        print_json({name: preset.model_dump() for name, preset in presets.items()})
        return
    columns = (Column("preset"), Column("device", drop=1), Column("what for", wrap=True))
    print_rows(
        output(), columns, [(name, preset.device or "any", preset.description) for name, preset in presets.items()]
    )


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A preset; `sage engine preset list` shows them.")],
    as_json: AsJson = False,
) -> None:
    """Print a preset's YAML, to begin a file of your own with."""
    from sage_cli.consoles import print_json
    from sage_client.presets.preset import named, preset_text

    if as_json:
        print_json(named(name).model_dump())
        return
    typer.echo(preset_text(name), nl=False)


@app.command()
def apply(
    preset: Annotated[str, typer.Argument(help="A preset, or a file of one (a path or a name that ends in .yaml).")],
    model: Annotated[str, typer.Argument(help="The model, where the preset names none.")] = "",
    name: Annotated[str, typer.Option(help="Name of the engine. Left out, the preset's or the model's.")] = "",
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Start an engine as a preset says. One that cannot run with it leaves no engine behind."""
    from sage_client.presets.preset import named_or_file

    start_engine(named_or_file(preset).start(model=model, name=name), wait=wait, as_json=as_json, keep_failed=False)
