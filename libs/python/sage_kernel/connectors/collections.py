"""Collections of a run in this process: records kept in memory for its result."""

from __future__ import annotations

import polars as pl

from sage_kernel.operator import Record, State
from sage_kernel.stream_type import StreamType


class MemoryCollections:
    """Makes the sinks of collections and holds what they were given."""

    def __init__(self) -> None:
        self._sinks: dict[str, MemorySink] = {}

    def __call__(self, name: str, node_id: str, stream: StreamType) -> MemorySink:
        """Return the sink of a collection."""
        return self._sinks.setdefault(name, MemorySink())

    def records(self) -> dict[str, list[Record]]:
        """Return the records of every collection, by name."""
        return {name: sink.records() for name, sink in self._sinks.items()}


class MemorySink:
    """Keeps records, in its checkpoints too: they are the only place where they are."""

    def __init__(self) -> None:
        self._frames: list[pl.DataFrame] = []

    async def write(self, frame: pl.DataFrame) -> None:
        """Keep records."""
        self._frames.append(frame)

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
