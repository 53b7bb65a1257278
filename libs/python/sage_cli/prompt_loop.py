"""Turns of a conversation in a terminal: one typed line after the other."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from sage_cli.consoles import notes
from sage_common.errors import SageError


def ask_until_left(turn: Callable[[str], None]) -> None:
    """Give ``turn`` what is typed, until an empty line, Ctrl-D, or Ctrl-C at the prompt; Ctrl-C in a turn ends that."""
    # Line editing and history for input().
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401
    interactive = sys.stdin.isatty()
    if interactive:
        notes().print("/help shows the commands; an empty line, Ctrl-D or Ctrl-C leaves", style="dim", markup=False)
    while True:
        try:
            said = input("> " if interactive else "").strip()
        except (EOFError, KeyboardInterrupt):
            if interactive:
                sys.stdout.write("\n")
            return
        if not said:
            return
        try:
            turn(said)
        except KeyboardInterrupt:
            notes().print("stopped", style="dim")
        except SageError as error:
            # One failed turn does not end a conversation; it can be asked again.
            notes().print(error.message, markup=False, style="red")
