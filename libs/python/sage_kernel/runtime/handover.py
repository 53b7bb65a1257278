"""What tasks hand over to the one that merges: parts of records, or of partial results, as Arrow files in order.

Every part's name has the epoch of the lease under which it was written, and so has the list of them that is written
last: a task that was taken over writes beside what counts, never into it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, BinaryIO, Literal

import orjson
import polars as pl
from pydantic import Field

from sage_common.errors import UnavailableError, UnprocessableError
from sage_kernel.event_time.split_grouping import Grouping
from sage_kernel.ipc_stream import write_ipc_stream
from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import Position, SourceBatch, Split, State
from sage_kernel.state.blobs import BlobStore
from sage_kernel.stream_type import NodeProblems, StreamType

_PART_BYTES = 16 * 1024 * 1024
_PART_ROWS = 65_536


class RecordParts:
    """A sink that keeps records for another task, in the order in which they come.

    Args:
        blobs: of this task.
        node_id: whose records they are.
        epoch: of the lease under which they are written.
    """

    def __init__(self, blobs: BlobStore, node_id: str, epoch: int) -> None:
        self._blobs = blobs
        self._node_id = node_id
        # Parts by the epoch that wrote them, those of earlier epochs up to the checkpoint first.
        self._written: list[tuple[int, int]] = []
        self._epoch = epoch
        self._count = 0
        self._waiting: list[pl.DataFrame] = []
        self._waiting_bytes = 0

    async def write(self, frame: pl.DataFrame) -> None:
        """Take records; a part is written when there are enough. Raises OSError."""
        if self._waiting and self._waiting[0].schema != frame.schema:
            await self._write_part()
        self._waiting.append(frame)
        self._waiting_bytes += int(frame.estimated_size())
        if self._waiting_bytes >= _PART_BYTES:
            await self._write_part()

    async def flush(self) -> State:
        """Write what waits."""
        await self._write_part()
        return State({"parts": [list(part) for part in self._all()]})

    async def restore(self, state: State) -> None:
        """Go on behind the parts of a checkpoint; later ones are named by no list."""
        parts: Any = state.values["parts"]
        self._written = [(int(epoch), int(count)) for epoch, count in parts]

    async def publish(self) -> None:
        """List the parts."""
        names = [_part(self._node_id, epoch, n) for epoch, count in self._all() for n in range(count)]
        await self._blobs.put(_list(self._node_id, self._epoch), lambda file: _write(file, orjson.dumps(names)))

    async def close(self) -> None:
        """Parts go with the job."""

    def _all(self) -> list[tuple[int, int]]:
        return [*self._written, (self._epoch, self._count)] if self._count else list(self._written)

    async def _write_part(self) -> None:
        if not self._waiting:
            return
        frame = pl.concat(self._waiting, how="vertical") if len(self._waiting) > 1 else self._waiting[0]
        if any(column.dtype == pl.Object for column in frame.get_columns()):
            raise UnprocessableError(f"{self._node_id!r} takes Python objects, which cannot be handed over to a worker")
        name = _part(self._node_id, self._epoch, self._count)
        await self._blobs.put(name, lambda file: _write_frame(file, frame))
        self._count += 1
        self._waiting, self._waiting_bytes = [], 0


class PartialResults:
    """A sink that groups the records of a task's splits, and hands over the partial results at their end."""

    def __init__(self, grouping: Grouping, parts: RecordParts) -> None:
        self._grouping = grouping
        self._parts = parts

    async def write(self, frame: pl.DataFrame) -> None:
        """Group records; without watermarks nothing is given out, and none is late."""
        if self._grouping.on_batch(frame, 0):
            raise AssertionError("a grouping has given out records before its watermark moved")

    async def flush(self) -> State:
        """Return the state of the grouping."""
        return self._grouping.snapshot()

    async def restore(self, state: State) -> None:
        """Take up ``state``."""
        self._grouping.restore(state)

    async def publish(self) -> None:
        """Hand over the partial results."""
        partials = self._grouping.partials()
        if partials is not None:
            for piece in partials.iter_slices(_PART_ROWS):
                await self._parts.write(piece)
                await self._parts.flush()
        await self._parts.publish()

    async def close(self) -> None:
        """Nothing is held."""


class HandedOverNode(NodeSpec):
    """Stands in the graph of a merging task for what comes into a node in the tasks before it."""

    takes_input = False

    op: Literal["handed_over"] = "handed_over"
    # Not written anywhere: it follows from the nodes of the pipeline.
    stream: Any = Field(exclude=True)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the type of the records as that node was to get them."""
        stream: StreamType = self.stream
        return stream


class HandedOverParts:
    """A source of what the tasks before have handed over, task by task.

    Args:
        blobs: those of each task, in order, with the epoch under which it came to its end.
    """

    def __init__(self, node_id: str, blobs: Sequence[tuple[BlobStore, int]]) -> None:
        self._node_id = node_id
        self._blobs = blobs

    async def splits(self) -> Sequence[Split]:
        """Return one for each task."""
        return list(range(len(self._blobs)))

    async def batches(self, split: Split, position: Position) -> AsyncIterator[SourceBatch]:
        """Yield the parts of a task. Raises UnavailableError where they are not within reach."""
        blobs, epoch = self._blobs[int(str(split))]
        names: list[str] = orjson.loads(await self._read(blobs, _list(self._node_id, epoch)))
        for index in range(int(str(position or 0)), len(names)):
            frame = pl.read_ipc_stream(await self._read(blobs, names[index]))
            yield SourceBatch(frame, index + 1)

    async def _read(self, blobs: BlobStore, name: str) -> bytes:
        try:
            with await blobs.open(name) as file:
                return file.read()
        except FileNotFoundError:
            raise UnavailableError(
                f"{name}, which another task has handed over, is not on this worker; let all workers share "
                "dataflow_worker.checkpoint_dir",
                code="handover_gone",
            ) from None


def _part(node_id: str, epoch: int, number: int) -> str:
    return f"{epoch}-{node_id}-{number:06}.part"


def _list(node_id: str, epoch: int) -> str:
    return f"{epoch}-{node_id}.parts"


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)


def _write_frame(file: BinaryIO, frame: pl.DataFrame) -> None:
    write_ipc_stream(frame, file, "lz4")
