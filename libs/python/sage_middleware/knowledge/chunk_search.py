"""Nearest chunks of a collection as it is now: through its index where that can be used, else by a scan of all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from sage_libs.hnsw_graph import HnswError, HnswGraph, Ints, hnsw_is_installed
from sage_libs.quantization import Quantized, unit_rows
from sage_middleware.knowledge import index_record
from sage_middleware.knowledge.approximate_search import ApproximateSearch, score_exactly
from sage_middleware.knowledge.index_record import IndexRecord, checked_index_file, index_file
from sage_middleware.knowledge.vector_rows import stored_codes, stored_vectors
from sage_middleware.knowledge.vector_scan import VectorScan

if TYPE_CHECKING:
    from sage_middleware.knowledge.collection import Collection

# An index that finds fewer of the nearest ten is not used.
LEAST_RECALL = 0.9
# So many chunks that a filter leaves are compared one by one, in some 20 ms.
FEW_ALLOWED = 10_000
NOT_INSTALLED = "usearch is not installed: pip install 'sage-mesh[ann]'"


class FoundChunks(NamedTuple):
    """Chunks, best first.

    Attributes:
        ids: int64 (m,).
        scores: cosine similarities, float32 (m,).
        approximate: whether some that are as near may be missing.
        recall: the share of the nearest ten that such a search finds, as measured; None where it is exact.
    """

    ids: Ints
    scores: npt.NDArray[np.float32]
    approximate: bool
    recall: float | None


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """Whether searches go through an index.

    Attributes:
        approximate: whether they do; else all vectors are scanned.
        recall: recall@10 as measured; None where they do not.
        vectors: in the index.
        changed: vectors that came or went since it was written; those that are there are scanned.
        note: why an index that there should be is not used; empty where that is not so.
    """

    approximate: bool = False
    recall: float | None = None
    vectors: int = 0
    changed: int = 0
    note: str = ""


def describe_index(status: IndexStatus) -> str:
    """Return a line about an index; empty where there is none, nor should be."""
    if status.note:
        return f"all vectors are scanned: {status.note}"
    if not status.approximate:
        return ""
    since = f", {status.changed} changed since are scanned" if status.changed else ""
    return f"{status.vectors} vectors in the index{since}; recall@10 {status.recall:.2f}"


class ChunkSearch:
    """Searches one open collection. Calls may come from several threads."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._lock = RLock()
        self._version = -1
        self._record: IndexRecord | None = None
        self._above = 0
        self._approximate: ApproximateSearch | None = None
        self._exact: tuple[Ints, VectorScan] | None = None
        self._graph: tuple[str, HnswGraph | None, str] = ("", None, "")
        self._note = ""

    def nearest(self, query: npt.ArrayLike, k: int, allowed: Ints | None = None) -> FoundChunks:
        """Return the ``k`` nearest chunks; ties go to the lower id.

        Args:
            query: shape (d,), of any length.
            allowed: chunks that may be found, ascending; None allows all.

        Raises:
            ValueError: k < 1, a query of another shape, or NaN or infinity in it.
        """
        given = np.asarray(query, dtype=np.float32)
        with self._lock:
            self._look()
            approximate, record = self._approximate, self._record
        if approximate is None or record is None or given.shape != (self._collection.dimension,) or k < 1:
            return self._scanned(given, k, allowed)
        unit = unit_rows(given[np.newaxis])[0]
        if allowed is not None and len(allowed) <= FEW_ALLOWED:
            ids, scores = score_exactly(unit, *stored_vectors(self._collection, allowed))
            return FoundChunks(ids[:k], scores[:k], approximate=False, recall=None)
        found = approximate.nearest(unit, k, allowed)
        if found is None:
            return self._scanned(given, k, allowed)
        return FoundChunks(found.ids, found.scores, approximate=True, recall=record.recall)

    def status(self) -> IndexStatus:
        """Return whether searches go through an index. The file's content is read at the first search only."""
        with self._collection.reading() as connection:
            record = index_record.read_record(connection)
            above = index_record.index_above(connection)
            changed = index_record.change_count(connection)
            chunks = int(connection.execute("SELECT count(*) FROM chunks").fetchone()[0])
        if record is None:
            note = NOT_INSTALLED if 0 < above < chunks and not hnsw_is_installed() else ""
            return IndexStatus(note=note)
        version, graph, note = self._graph
        if version == record.version and graph is None:
            return IndexStatus(vectors=record.vectors, changed=changed, note=note)
        note = _unusable(self._collection.path, record, above)
        if note:
            return IndexStatus(vectors=record.vectors, changed=changed, note=note)
        return IndexStatus(True, record.recall, record.vectors, changed)

    def _look(self) -> None:
        """Take up what has been committed since the last look."""
        for is_last in (False, True):
            with self._collection.reading() as connection:
                version = self._collection.version
                if version == self._version:
                    return
                record = index_record.read_record(connection)
                self._exact, self._approximate, self._record = None, None, record
                self._above = index_record.index_above(connection)
                graph = self._opened(record) if record is not None else None
                if record is not None and graph is not None:
                    changed, _ = index_record.changes(connection)
                    ids, codes = stored_codes(self._collection, changed)
                    self._approximate = self._joined(graph, record, changed, ids, codes)
                    self._version = version
                    return
            # A file that is not there any more may have been replaced since the record was read.
            if record is None or is_last or index_file(self._collection.path, record.version).exists():
                self._version = version
                return
            self._graph = ("", None, "")

    def _opened(self, record: IndexRecord) -> HnswGraph | None:
        version, graph, _ = self._graph
        if version != record.version:
            note = _unusable(self._collection.path, record, self._above)
            graph = None
            if not note:
                try:
                    file = checked_index_file(self._collection.path, record)
                    graph = HnswGraph.map(file, self._collection.dimension or 1)
                except HnswError as error:
                    note = f"{error}; `sage kb index {self._collection.name}` makes it again"
            self._graph = (record.version, graph, note)
            self._say(note)
        return graph

    def _scanned(self, query: npt.NDArray[np.float32], k: int, allowed: Ints | None) -> FoundChunks:
        with self._lock:
            if self._exact is None:
                with self._collection.reading():
                    ids, codes = stored_codes(self._collection)
                scan = VectorScan(codes, lambda rows: self._collection.vectors_of(ids[rows]))
                self._exact = ids, scan
                if self._record is None and 0 < self._above < len(ids) and not hnsw_is_installed():
                    self._say(NOT_INSTALLED)
            ids, scan = self._exact
        rows, scores = scan.nearest(query, k, None if allowed is None else np.isin(ids, allowed))
        return FoundChunks(ids[rows], scores, approximate=False, recall=None)

    def _joined(
        self, graph: HnswGraph, record: IndexRecord, changed: Ints, ids: Ints, codes: Quantized
    ) -> ApproximateSearch:
        collection = self._collection
        tail = VectorScan(codes, lambda rows: collection.vectors_of(ids[rows])) if len(ids) else None
        return ApproximateSearch(
            graph, record.expansion, changed, ids, tail, lambda asked: stored_vectors(collection, asked)
        )

    def _say(self, note: str) -> None:
        if note and note != self._note:
            # Only a failure logs, and logging takes a third of a second to import.
            from sage_common.logging import get_logger

            get_logger(__name__).warning(
                "all vectors are scanned, the index is not used", name=self._collection.name, reason=note
            )
        self._note = note


def _unusable(collection: Path, record: IndexRecord, above: int) -> str:
    """Return why the index is not used, as far as a look at its file tells."""
    if record.recall is not None and record.recall < LEAST_RECALL:
        return f"it finds {record.recall:.2f} of the nearest ten, less than {LEAST_RECALL}"
    if not hnsw_is_installed():
        return NOT_INSTALLED
    try:
        size = index_file(collection, record.version).stat().st_size
    except OSError as error:
        return f"its file: {error.strerror or error}; `sage kb index {collection.stem}` makes it again"
    if size != record.size:
        return f"its file has {size} of {record.size} bytes; `sage kb index {collection.stem}` makes it again"
    return ""
