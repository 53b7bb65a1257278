"""A sink that asks, before each thing that others can see, whether this run may still do it."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from sage_common.errors import ConflictError
from sage_kernel.operator import Sink, State


class TakenOverError(ConflictError):
    """Another run goes on with this one's work; nothing more may be written here."""

    default_code = "taken_over"


class FencedSink:
    """Lets a run that was stopped for a while find out before it writes.

    Args:
        may_write: tells whether the work is still this run's.
    """

    def __init__(self, sink: Sink, may_write: Callable[[], bool]) -> None:
        self._sink = sink
        self._may_write = may_write

    async def write(self, frame: pl.DataFrame) -> None:
        """Write records. Raises TakenOverError."""
        self._check()
        await self._sink.write(frame)

    async def flush(self) -> State:
        """Make everything durable. Raises TakenOverError."""
        self._check()
        return await self._sink.flush()

    async def restore(self, state: State) -> None:
        """Go on from ``state``, which may take back what is behind it. Raises TakenOverError."""
        self._check()
        await self._sink.restore(state)

    async def publish(self) -> None:
        """Show the whole result. Raises TakenOverError."""
        self._check()
        await self._sink.publish()

    async def close(self) -> None:
        """Release what is held."""
        await self._sink.close()

    def _check(self) -> None:
        if not self._may_write():
            raise TakenOverError("another run has taken this one's work over, or is about to")
