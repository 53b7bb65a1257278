"""``index``: collects records by their vectors, for ``retrieve`` nodes to search."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from sage_common.errors import UnprocessableError
from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator import Batch, OperatorType, Record, RunContext
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


class Hit(NamedTuple):
    """A record found, without its vector, and its cosine similarity."""

    record: Record
    score: float


class RecordIndex:
    """Records by content hash, searchable by vector."""

    def __init__(self, spec: IndexNode) -> None:
        self._spec = spec
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

    def search(self, vector: Any, k: int) -> list[Hit]:
        """Return the ``k`` nearest records, best first."""
        return [Hit(self._records[found.key], found.score) for found in self._index.search(vector, k)]


class IndexOperator:
    """Collects records and offers the index when the last one is in."""

    def __init__(self, node_id: str, spec: IndexNode, context: RunContext) -> None:
        self._node_id = node_id
        self._spec = spec
        self._context = context
        self._records: list[Record] = []

    @property
    def batch_records(self) -> int:
        """Takes what comes."""
        return 256

    async def process(self, batch: Batch) -> Batch:
        """Collect the records. Raises UnprocessableError where a record has no usable vector."""
        for record in batch:
            vector = np.asarray(record.get(self._spec.vector))
            if vector.ndim != 1 or vector.dtype.kind != "f" or self._spec.text not in record:
                raise UnprocessableError(
                    f"a record needs a vector in {self._spec.vector!r} and a text in {self._spec.text!r}; "
                    f"got shape {vector.shape} of {vector.dtype}"
                )
        self._records.extend(batch)
        return ()

    async def finish(self) -> Batch:
        """Build the index. Records come in any order, so they are sorted: equal scores always rank the same."""
        index = RecordIndex(self._spec)
        for record in sorted(self._records, key=_place):
            index.add(record)
        self._records.clear()
        self._context.indexes[self._node_id].set_result(index)
        return ()

    async def close(self) -> None:
        """Drop what was collected."""
        self._records.clear()


def _place(record: Record) -> tuple[str, int]:
    start = record.get("start")
    return str(record.get("id", "")), start if isinstance(start, int) else 0


INDEX = OperatorType(IndexNode, IndexOperator)
