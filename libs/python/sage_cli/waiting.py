"""A spinner while a command waits, which says for whom once that takes longer than two seconds."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from rich.console import Console

from sage_cli.consoles import notes

IN_PARENTHESES = re.compile(r" \([^()]*\)")


class WaitLines:
    """Says in a file what is waited for: a line for each thing, and none when only its figures have changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: set[str] = set()

    def show(self, text: str) -> None:
        """Say what is waited for, unless it was said before. Figures and progress are in parentheses."""
        thing = IN_PARENTHESES.sub("", text)
        if thing not in self._said:
            self._said.add(thing)
            self._console.print(text, markup=False)


class WaitDisplay:
    """Shows on stderr what is waited for: in a spinner on a terminal, as a line where stderr is a file.

    Args:
        doing: what the spinner says till there is more to say; empty shows none till then.
    """

    def __init__(self, doing: str, console: Console | None = None) -> None:
        self._console = console or notes()
        self._status = self._console.status(doing or "waiting")
        self._begins = bool(doing)
        self._lines = WaitLines(self._console)

    def begin(self) -> None:
        """Start the spinner."""
        if self._begins and self._console.is_terminal:
            self._status.start()

    def show(self, text: str) -> None:
        """Say what is waited for."""
        if self._console.is_terminal:
            self._status.update(text)
            self._status.start()
        else:
            self._lines.show(text)

    def end(self) -> None:
        """Take the spinner away. Idempotent."""
        self._status.stop()


@contextlib.contextmanager
def waiting(doing: str = "") -> Iterator[WaitDisplay]:
    """Show what is waited for until the end of the block, or until ``end`` is called."""
    display = WaitDisplay(doing)
    display.begin()
    try:
        yield display
    finally:
        display.end()
