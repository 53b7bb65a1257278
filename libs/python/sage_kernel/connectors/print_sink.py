"""Writing records to standard output, one JSON object a line."""

from __future__ import annotations

import asyncio
import sys

import polars as pl

from sage_kernel.connectors.json_encoder import to_json_lines
from sage_kernel.operator import State


class PrintSink:
    """Prints as records come; after a restart those since the last checkpoint appear again.

    Args:
        label: what each line begins with; empty for nothing.
    """

    def __init__(self, label: str = "") -> None:
        self._label = f"{label}: ".encode() if label else b""

    async def write(self, frame: pl.DataFrame) -> None:
        """Print records. Raises UnprocessableError for one that JSON has no form for, OSError where nobody reads."""
        text = to_json_lines(frame)
        if self._label:
            text = b"".join(self._label + line for line in text.splitlines(keepends=True))
        await asyncio.to_thread(_print, text.decode("utf-8", "replace"))

    async def flush(self) -> State:
        """Everything was printed at once."""
        return State()

    async def restore(self, state: State) -> None:
        """What was printed stays."""

    async def publish(self) -> None:
        """There is nothing to show beside."""

    async def close(self) -> None:
        """Nothing is held."""


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
