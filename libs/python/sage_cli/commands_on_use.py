"""Commands that are imported when they are used, so that each costs the start of no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group


class CommandsOnUse(MutableMapping[str, Any]):
    """The commands of a group by name.

    Args:
        modules: by name of the command. Each has a group of commands as ``app``, or ``register``, which adds one
            command to the ``typer.Typer`` that it is given.
    """

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules
        self._commands: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._commands:
            self._commands[name] = _command(self._modules[name], name)
        return self._commands[name]

    def __contains__(self, name: object) -> bool:
        return name in self._commands or name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._modules, *self._commands)))

    def __len__(self) -> int:
        return len({*self._modules, *self._commands})

    def __setitem__(self, name: str, command: Any) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]


def group_of(modules: Mapping[str, str]) -> type[TyperGroup]:
    """Return the class of a group with these commands; see ``CommandsOnUse``."""

    class Group(TyperGroup):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.commands = CommandsOnUse(modules)

    return Group


def _command(module_name: str, name: str) -> Any:
    module = import_module(module_name)
    group = getattr(module, "app", None)
    if group is None:
        alone = typer.Typer(add_completion=False)
        module.register(alone)
        command: Any = get_command(alone)
    else:
        command = get_group(group)
    command.name = name
    return command
