"""Collections of a run in this process: records kept in memory for its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import polars as pl

from sage_kernel.operator import Record, State
from sage_kernel.stream_type import StreamType

OnRecords: TypeAlias = Callable[[str, list[Record]], None]
"""Told of the records that a collection has got; it must not block."""


class MemoryCollections:
    """Makes the sinks of collections and holds what they were given.

    Args:
        on_records: told of records as they come.
        collects: whether they are held.
    """

    def __init__(self, on_records: OnRecords | None = None, *, collects: bool = True) -> None:
        self._collects = collects
        self._sinks: dict[str, MemorySink] = {}
        self._on_records = on_records

    def __call__(self, name: str, node_id: str, stream: StreamType) -> MemorySink:
        """Return the sink of a collection."""
        return self._sinks.setdefault(name, MemorySink(name, self._on_records, collects=self._collects))

    def records(self) -> dict[str, list[Record]]:
        """Return the records of every collection, by name."""
        return {name: sink.records() for name, sink in self._sinks.items()}


class MemorySink:
    """Keeps records, in its checkpoints too: they are the only place where they are."""

    def __init__(self, name: str = "", on_records: OnRecords | None = None, *, collects: bool = True) -> None:
        self._collects = collects
        self._name = name
        self._on_records = on_records
        self._frames: list[pl.DataFrame] = []

    async def write(self, frame: pl.DataFrame) -> None:
        """Keep records."""
        if self._collects:
            self._frames.append(frame)
        if self._on_records is not None:
            self._on_records(self._name, frame.to_dicts())

    async def flush(self) -> State:
        """Return all of them."""
        if len(self._frames) > 1:
            self._frames = [pl.concat(self._frames, how="vertical_relaxed")]
        return State(frames={"records": self._frames[0]} if self._frames else {})

    async def restore(self, state: State) -> None:
        """Take up the records of a checkpoint."""
        self._frames = list(state.frames.values())

    async def publish(self) -> None:
        """They are where they are wanted."""

    async def close(self) -> None:
        """Release nothing: the result needs them."""

    def records(self) -> list[Record]:
        """Return the records."""
        return [record for frame in self._frames for record in frame.to_dicts()]
