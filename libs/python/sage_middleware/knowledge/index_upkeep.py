"""Making the index file of a collection, and making it again when enough has changed.

A new file is written under a new version beside the old one, and counts from the transaction that says so. Until then,
and wherever that ends early, the old one counts with what has changed since. Others may store meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np

from sage_common.errors import ConflictError, SageError, UnprocessableError
from sage_libs.hnsw_graph import HnswError, HnswGraph, Ints, hnsw_is_installed
from sage_libs.quantization import Floats
from sage_middleware.knowledge import index_record
from sage_middleware.knowledge.approximate_search import ApproximateSearch, Neighbours
from sage_middleware.knowledge.chunk_search import IndexStatus, describe_index
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.index_recall import RecallSample, draw_sample, recall_of
from sage_middleware.knowledge.index_record import IndexRecord, checked_index_file, index_file, index_files
from sage_middleware.knowledge.vector_rows import code_blocks, stored_codes, stored_vectors
from sage_middleware.knowledge.writer_lock import INGEST_RUNNING, WriterLock

# The file is written again when more than this share has changed; less than that is scanned within a millisecond.
CHANGED_SHARE = 0.01
# Places of removed vectors are walked through in vain, so above this share the graph is made from nothing.
REMADE_SHARE = 0.25
# The first of these with which enough is found is kept; of the last, what it finds.
EXPANSIONS = (128, 256, 512, 1024)
ENOUGH_RECALL = 0.98
_ADDED_AT_ONCE = 1024


class _StoppedError(Exception):
    pass


async def keep_index(path: Path, *, force: bool = False, measure: bool = True) -> None:
    """Bring the index of a collection up to date in a thread; when the call is cancelled, that stops soon.

    Raises:
        SageError, HnswError: see ``refresh_index``.
    """
    stop = Event()
    try:
        await asyncio.to_thread(refresh_index, path, force=force, measure=measure, is_stopped=stop.is_set)
    finally:
        stop.set()


async def kept_index(collection: Collection) -> str:
    """Bring the index of a collection up to date, and return a line about it; empty where it has none, nor should."""
    try:
        await keep_index(collection.path)
    except (HnswError, SageError) as error:
        # All that the index does not have is scanned.
        return f"the index is not brought up to date: {error}"
    return describe_index(await asyncio.to_thread(collection.index_status))


async def make_index(collection: Collection, above: int | None = None) -> IndexStatus:
    """Make the index of a collection from nothing, and return whether searches go through it.

    Args:
        above: from now on, with more vectors than this there is an index; None leaves that as it is.

    Raises:
        ConflictError: another process makes it now.
        UnprocessableError: the file cannot be written.
        SageError: the collection cannot be written.
    """
    if above is not None:
        with collection.writing() as connection:
            index_record.set_index_above(connection, above)
    try:
        await keep_index(collection.path, force=True)
    except HnswError as error:
        raise UnprocessableError(str(error), code="knowledge_base", retryable=True) from error
    return await asyncio.to_thread(collection.index_status)


def refresh_index(
    path: Path, *, force: bool = False, measure: bool = True, is_stopped: Callable[[], bool] = lambda: False
) -> None:
    """Bring the index of a collection up to date, measure what it finds, and record both.

    Where there are few vectors, or there is to be no index, it is removed. Where another process is at it, or usearch
    is not installed, nothing is done.

    Args:
        force: make it from nothing. ConflictError where another process is at it.
        measure: measure again where something has changed, but too little to write the file again.
        is_stopped: asked now and then; a step that is stopped leaves what there was.

    Raises:
        HnswError: the file cannot be written; what there was stays.
        SageError: the collection cannot be read or written.
    """
    with Collection(path) as collection:
        upkeep = _Upkeep(collection, force=force, measure=measure, is_stopped=is_stopped)
        if not upkeep.is_wanted and not upkeep.has_begun:
            return
        try:
            # Others may ingest meanwhile, but not make an index.
            with WriterLock(path.with_name(f"{path.name}.usearch"), doing="indexing"):
                upkeep.run()
        except _StoppedError:
            return
        except ConflictError as error:
            if force or error.code != INGEST_RUNNING:
                raise


class _Upkeep:
    def __init__(self, collection: Collection, *, force: bool, measure: bool, is_stopped: Callable[[], bool]) -> None:
        self._collection = collection
        self._path = collection.path
        self._inode = collection.path.stat().st_ino
        self._force = force
        self._measure = measure
        self._is_stopped = is_stopped
        with collection.reading() as connection:
            above = index_record.index_above(connection)
            self.has_begun = index_record.keeps_changes(connection)
        self.is_wanted = 0 < above < collection.counts()[1]

    def run(self) -> None:
        collection = self._collection
        if not self.is_wanted:
            with collection.writing() as connection:
                index_record.end_changes(connection)
            self._sweep("")
            return
        if not hnsw_is_installed():
            return
        with collection.reading() as connection:
            record = index_record.read_record(connection)
            changed, through = index_record.changes(connection)
        if record is None or self._force or not self._serves(record, changed):
            self._write(record)
        elif self._measure and through > record.measured_through:
            recall = recall_of(draw_sample(collection, on_block=self._check), self._through_index)
            with collection.writing() as connection:
                index_record.write_record(connection, replace(record, recall=recall, measured_through=through))

    def _serves(self, record: IndexRecord, changed: Ints) -> bool:
        return self._collection.index_status().approximate and len(changed) <= CHANGED_SHARE * record.vectors

    def _through_index(self, vector: Floats, k: int) -> Neighbours | None:
        found = self._collection.nearest(vector, k)
        return Neighbours(found.ids, found.scores) if found.approximate else None

    def _write(self, record: IndexRecord | None) -> None:
        collection = self._collection
        with collection.writing() as connection:
            index_record.begin_changes(connection)
            # What changes from here on is noted with a higher number, whether or not the graph gets to see it.
            changed, through = index_record.changes(connection)
        graph = self._changed_graph(record, changed) or self._whole_graph()
        expansion, recall, sample = self._measured(graph)
        version = secrets.token_hex(8)
        file = index_file(self._path, version)
        unfinished = file.with_name(f".{file.name}.unfinished")
        try:
            graph.save(unfinished)
            written = IndexRecord(
                version=version,
                size=unfinished.stat().st_size,
                sha256=_digest(unfinished),
                vectors=len(graph),
                expansion=expansion,
                recall=recall,
                samples=len(sample.ids),
                measured_through=through,
            )
            unfinished.rename(file)
        except OSError as error:
            raise HnswError(f"{file} cannot be written: {error.strerror or error}") from error
        finally:
            unfinished.unlink(missing_ok=True)
        with collection.writing() as connection:
            index_record.write_record(connection, written, through=through)
        self._sweep(version)

    def _changed_graph(self, record: IndexRecord | None, changed: Ints) -> HnswGraph | None:
        """Return the graph of the file with what has changed; None where it is better made from nothing."""
        if record is None or self._force:
            return None
        try:
            graph = HnswGraph.load(checked_index_file(self._path, record), self._collection.dimension or 1)
        except HnswError:
            return None
        gone = changed[graph.contains(changed)]
        if len(gone) + graph.deleted > REMADE_SHARE * len(graph):
            return None
        graph.remove(gone)
        for start in range(0, len(changed), _ADDED_AT_ONCE):
            self._check()
            ids, codes = stored_codes(self._collection, changed[start : start + _ADDED_AT_ONCE])
            graph.add(ids, codes.values)
        return graph

    def _whole_graph(self) -> HnswGraph:
        graph = HnswGraph(self._collection.dimension or 1)
        for ids, codes in code_blocks(self._collection):
            for start in range(0, len(ids), _ADDED_AT_ONCE):
                self._check()
                graph.add(ids[start : start + _ADDED_AT_ONCE], codes[start : start + _ADDED_AT_ONCE])
        return graph

    def _measured(self, graph: HnswGraph) -> tuple[int, float, RecallSample]:
        """Return how many candidates a search keeps, and the recall that comes of it."""
        none = np.empty(0, dtype=np.int64)
        sample = draw_sample(self._collection, on_block=self._check)
        for expansion in EXPANSIONS:
            search = ApproximateSearch(
                graph, expansion, none, none, None, lambda ids: stored_vectors(self._collection, ids)
            )
            recall = recall_of(sample, search.nearest)
            if recall >= ENOUGH_RECALL:
                break
        return expansion, recall, sample

    def _sweep(self, version: str) -> None:
        """Remove the files of other versions; where the collection was dropped meanwhile, the one of this."""
        try:
            is_there = self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            is_there = False
        if not is_there:
            index_file(self._path, version).unlink(missing_ok=True)
            return
        for file in index_files(self._path):
            if file != index_file(self._path, version):
                file.unlink(missing_ok=True)

    def _check(self) -> None:
        if self._is_stopped():
            raise _StoppedError


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
