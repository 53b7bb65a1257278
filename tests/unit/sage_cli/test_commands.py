"""What holds for every command."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
import typer

from sage_cli.app import app


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    found = getattr(group, "commands", None)
    if found is None:
        yield " ".join(path), group
        return
    for name, command in found.items():
        yield from commands(command, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_the_walk_finds_commands_of_every_depth() -> None:
    assert {"up", "job results", "engine lora load", "bench simulate"} <= COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_prints_json_for_programs(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert "--json" in options


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_says_what_it_is_for(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert [p.name for p in command.params if p.name != "help" and not getattr(p, "help", "")] == []
