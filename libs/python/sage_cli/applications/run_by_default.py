"""Groups whose command ``run`` need not be written: ``sage app assistant`` is ``sage app assistant run``."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

DEFAULT = "run"


class RunByDefault(TyperGroup):
    """A group that takes what does not begin with one of its commands as arguments of ``run``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write the command that was left out."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)
