"""The command line as a page: every command with its arguments and options, as ``--help`` tells them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from sage_cli.app import app
from sage_tools.site.tables import cell, table


def command_reference() -> str:
    """Return the page."""
    sections = "\n\n".join(_sections(get_command(app), "sage"))
    return f"# Command line\n\nEvery command has `--json` where it prints something to read.\n\n{sections}\n"


def _sections(command: Any, name: str) -> Iterator[str]:
    level = min(4, name.count(" ") + 2)
    yield f"{'#' * level} {name}\n\n{_about(command)}{_usage(command, name)}{_options(command)}".rstrip()
    for child in sorted(getattr(command, "commands", {}).items()):
        if not child[1].hidden:
            yield from _sections(child[1], f"{name} {child[0]}")


def _about(command: Any) -> str:
    text = inspect.cleandoc(command.help or "").replace("\f", "").strip()
    return f"{text}\n\n" if text else ""


def _usage(command: Any, name: str) -> str:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    words = [_argument(parameter) for parameter in arguments]
    kind = "COMMAND" if hasattr(command, "commands") else ""
    return f"```text\n{' '.join(filter(None, [name, *words, '[OPTIONS]', kind]))}\n```\n\n"


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).upper() + ("..." if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _options(command: Any) -> str:
    rows = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            if parameter.help:
                rows.append((f"`{(parameter.metavar or parameter.name).upper()}`", "", parameter.help))
        elif not parameter.hidden and parameter.name != "help":
            names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
            rows.append((names, _default(parameter), parameter.help or ""))
    return table(("option", "default", "meaning"), rows) if rows else ""


def _default(parameter: Any) -> str:
    value = parameter.default
    if callable(value) or value is None or value in (False, (), "", []):
        return ""
    return f"`{cell(str(value))}`"
