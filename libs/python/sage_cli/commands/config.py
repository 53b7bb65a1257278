"""``sage config``."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="Settings: flag, then SAGE_* environment, then config file, then default.", no_args_is_help=True)


WIDE_COLUMNS = 120


@app.command()
def show(
    section: Annotated[str | None, typer.Argument(help="Section, e.g. gateway; left out, all of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every setting, its value, and where that comes from. Secrets are not shown."""
    import orjson
    from rich.text import Text

    from sage_cli.consoles import notes, output
    from sage_cli.effective_settings import effective_settings
    from sage_cli.fitted_tables import Column, print_rows
    from sage_common import paths

    settings = effective_settings(section)
    if as_json:
        from dataclasses import asdict

        listed = [asdict(setting) for setting in settings]
        typer.echo(orjson.dumps(listed, option=orjson.OPT_INDENT_2, default=str).decode())
        return
    console = output()
    columns = (
        Column("setting"),
        Column("value", wrap=True),
        Column("from", drop=2),
        Column("meaning", wrap=True, drop=1),
    )
    rows = [
        (
            f"{setting.section}.{setting.name}",
            str(setting.value),
            Text(setting.source, style="" if setting.source == "default" else "bold"),
            # The meanings need room; on a narrow terminal names and values come first.
            Text(setting.description if console.width >= WIDE_COLUMNS else "", style="dim"),
        )
        for setting in settings
    ]
    print_rows(console, columns, rows)
    path = paths.config_file()
    notes().print(f"config file: {path}{'' if path.exists() else ' (there is none)'}", markup=False)
