"""``index``: collects records by their vectors, for ``retrieve`` nodes to search."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator import Emission, Record, State
from sage_kernel.operator_type import OperatorType
from sage_kernel.run_context import RunContext
from sage_kernel.search_index import Hit, SearchIndex
from sage_kernel.stream_type import NodeProblems, StreamType, union_of
from sage_libs.vector_index import ExactVectorIndex


class IndexNode(NodeSpec):
    """An exact index in memory. Records whose text is the same are stored once.

    Attributes:
        vector: field with the vector.
        text: field whose content identifies a record.
    """

    positional = ("id",)
    gives_output = False
    makes_index = True

    op: Literal["index"]
    vector: FieldName = "vector"
    text: FieldName = "text"

    def reads(self) -> Iterator[FieldUse]:
        """Yield vector and text."""
        yield FieldUse("vector", self.vector)
        yield FieldUse("text", self.text)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the type of a hit: a record without its vector, and its score."""
        stream = union_of(inputs)
        fields = {name: dtype for name, dtype in stream.fields.items() if name != self.vector}
        return stream.only_fields({**fields, "score": pl.Float64()})


class RecordIndex:
    """Records by content hash, searchable by vector."""

    def __init__(self, spec: IndexNode, schema: Mapping[str, pl.DataType]) -> None:
        self._spec = spec
        fields = {name: dtype for name, dtype in schema.items() if name != spec.vector}
        self.hit_type = pl.Struct({**fields, "score": pl.Float64()})
        self._index: ExactVectorIndex[bytes] = ExactVectorIndex()
        self._records: dict[bytes, Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        """Store a record; the first of those with the same text stays. Raises ValueError for an unfit vector."""
        key = hashlib.sha256(str(record[self._spec.text]).encode("utf-8", "surrogatepass")).digest()
        if key not in self._records:
            self._index.add(key, record[self._spec.vector])
            self._records[key] = {name: value for name, value in record.items() if name != self._spec.vector}

    def search(self, vector: Any, k: int, words: str = "") -> list[Hit]:
        """Return the ``k`` nearest records, best first; words are not compared."""
        return [Hit(self._records[found.key], found.score) for found in self._index.search(vector, k)]


class IndexOperator:
    """Collects records and offers the index when the last one is in."""

    def __init__(self, node_id: str, spec: IndexNode, context: RunContext, inputs: Sequence[StreamType]) -> None:
        self._node_id = node_id
        self._spec = spec
        self._context = context
        self._schema = inputs[0].fields
        self._frames: list[pl.DataFrame] = []

    def on_batch(self, frame: pl.DataFrame, input_index: int) -> Sequence[Emission]:
        """Collect the records. Raises UnprocessableError where a record has no usable vector."""
        vectors = frame.get_column(self._spec.vector)
        dtype = vectors.dtype
        if not isinstance(dtype, pl.List | pl.Array) or not dtype.inner.is_float() or vectors.null_count():
            raise UnprocessableError(f"a record needs a vector in {self._spec.vector!r}; got {dtype}")
        self._schema = frame.schema
        self._frames.append(frame)
        return ()

    def on_watermark(self, time_us: int) -> Sequence[Emission]:
        """Nothing depends on time."""
        return ()

    def on_end(self) -> Sequence[Emission]:
        """Build the index. Records come in any order, so they are sorted: equal scores always rank the same."""
        index = RecordIndex(self._spec, self._schema)
        records = [record for frame in self._frames for record in frame.to_dicts()]
        for record in sorted(records, key=_place):
            index.add(record)
        future = self._context.indexes[self._node_id]
        # The runtime calls this in a thread, where it does not hold up the event loop.
        future.get_loop().call_soon_threadsafe(_offer, future, index)
        return ()

    def snapshot(self) -> State:
        """Return what was collected."""
        return State(frames={f"{number:06}": frame for number, frame in enumerate(self._frames)})

    def restore(self, state: State) -> None:
        """Take up what was collected."""
        self._frames = [state.frames[name] for name in sorted(state.frames)]


def _offer(future: asyncio.Future[SearchIndex], index: SearchIndex) -> None:
    if not future.done():
        future.set_result(index)


def _place(record: Record) -> tuple[str, int]:
    start = record.get("start")
    return str(record.get("id", "")), start if isinstance(start, int) else 0


INDEX = OperatorType(IndexNode, IndexOperator)
