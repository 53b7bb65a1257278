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
    from rich.table import Table
    from rich.text import Text

    from sage_cli.consoles import notes, output
    from sage_cli.effective_settings import effective_settings
    from sage_common import paths

    settings = effective_settings(section)
    if as_json:
        from dataclasses import asdict

        listed = [asdict(setting) for setting in settings]
        typer.echo(orjson.dumps(listed, option=orjson.OPT_INDENT_2, default=str).decode())
        return
    console = output()
    # The meanings need room; on a narrow terminal names and values come first.
    wide = console.width >= WIDE_COLUMNS
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("setting", "value", "from", *(("meaning",) if wide else ())):
        table.add_column(name, overflow="fold", no_wrap=name in ("setting", "from"))
    for setting in settings:
        name = f"{setting.section}.{setting.name}"
        source = Text(setting.source, style="" if setting.source == "default" else "bold")
        meaning = (Text(setting.description, style="dim"),) if wide else ()
        table.add_row(name, Text(str(setting.value)), source, *meaning)
    console.print(table)
    path = paths.config_file()
    notes().print(f"config file: {path}{'' if path.exists() else ' (there is none)'}", markup=False)
