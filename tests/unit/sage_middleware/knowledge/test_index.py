"""An approximate index beside a collection: what it finds, what it is worth, and that a scan takes its place."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from sage_common.errors import ConflictError
from sage_libs.hnsw_graph import HnswError
from sage_middleware.knowledge import chunk_search, index_upkeep
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.index_recall import draw_sample, recall_of
from sage_middleware.knowledge.index_record import index_files
from sage_middleware.knowledge.index_upkeep import kept_index, make_index, refresh_index
from sage_middleware.knowledge.ingest import ingest
from sage_middleware.knowledge.library import Library
from sage_middleware.knowledge.records import FileState, NewChunk
from sage_middleware.knowledge.retrieval import SearchMode, search
from sage_middleware.knowledge.writer_lock import WriterLock
from tests.fixtures.word_models import WordModels

pytest.importorskip("usearch.index")

ROOT = Path(__file__).parents[4]
DIMENSION = 32
ABOVE = 100


def _vectors(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)


def _put(collection: Collection, name: str, vectors: np.ndarray, **metadata: str) -> None:
    chunks = [NewChunk("", f"{name} {n}", "body", 1, n, n + 1, n + 1, n + 1, None) for n in range(len(vectors))]
    collection.put(FileState("", name, 1, 1, name.encode()), name, chunks, vectors, "random", metadata)


def _exact(collection: Collection, query: np.ndarray, k: int) -> list[int]:
    rows = collection.select("SELECT chunk_id, float32 FROM vectors ORDER BY chunk_id")
    vectors = np.stack([np.frombuffer(row[1], dtype=np.float32) for row in rows])
    scores = np.round(vectors @ (query / np.linalg.norm(query)), 6)
    return [rows[at][0] for at in np.argsort(-scores, kind="stable")[:k]]


@pytest.fixture(autouse=True)
def _walked_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the graph miss nothing, so that what is found can be compared; two threads link so few vectors badly."""
    monkeypatch.setattr("sage_libs.hnsw_graph.THREADS", 1)
    monkeypatch.setattr(index_upkeep, "EXPANSIONS", (1024,))


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    with Collection.create(tmp_path / "c.kb", index_above=ABOVE) as made:
        for number in range(4):
            _put(made, f"d{number}", _vectors(100, number), half=str(number % 2))
        yield made


def test_it_is_made_above_the_limit_and_finds_what_a_scan_finds(collection: Collection) -> None:
    assert not collection.nearest(_vectors(1, 9)[0], 10).approximate
    refresh_index(collection.path)
    status = collection.index_status()
    assert (status.approximate, status.vectors, status.changed, status.note) == (True, 400, 0, "")
    assert status.recall == 1.0
    for query in _vectors(20, 8):
        found = collection.nearest(query, 10)
        assert (found.approximate, found.recall) == (True, 1.0)
        assert found.ids.tolist() == _exact(collection, query, 10)
    # More than there are.
    assert len(collection.nearest(_vectors(1, 9)[0], 1000).ids) == 400
    with pytest.raises(ValueError, match="ask for at least one"):
        collection.nearest(_vectors(1, 9)[0], 0)
    with pytest.raises(ValueError, match="NaN"):
        collection.nearest(np.full(DIMENSION, np.nan), 3)
    with pytest.raises(ValueError, match="the query has shape"):
        collection.nearest(np.ones(3), 3)


def test_no_index_is_made_up_to_the_limit_or_where_it_is_0_and_one_that_is_there_goes(collection: Collection) -> None:
    with collection.writing() as connection:
        index_upkeep.index_record.set_index_above(connection, 400)
    refresh_index(collection.path)
    assert not list(index_files(collection.path))
    _put(collection, "one", _vectors(1, 7))
    refresh_index(collection.path)
    assert [path.stat().st_size > 0 for path in index_files(collection.path)] == [True]
    with collection.writing() as connection:
        index_upkeep.index_record.set_index_above(connection, 0)
    refresh_index(collection.path)
    assert not list(index_files(collection.path))
    assert not collection.index_status().approximate
    assert not collection.nearest(_vectors(1, 9)[0], 10).approximate
    assert collection.select("SELECT name FROM sqlite_master WHERE name LIKE 'index\\_%' ESCAPE '\\'") == []


def test_what_is_stored_or_removed_since_counts_at_once_in_another_reader_too(collection: Collection) -> None:
    refresh_index(collection.path)
    query = _vectors(1, 9)[0]
    with Collection(collection.path, read_only=True) as reader:
        nearest = reader.nearest(query, 10).ids.tolist()
        _put(collection, "new", np.stack([query, query * 2, *_vectors(10, 3)]))
        # The last document goes, and its chunks' ids are taken again by others.
        collection.remove([one.id for one in collection.documents() if one.file.path in ("new", "d3")])
        _put(collection, "again", np.stack([*_vectors(20, 11), query]))
        for one in (reader, collection):
            found = one.nearest(query, 10)
            assert found.approximate
            assert found.ids.tolist() == _exact(collection, query, 10) != nearest
            assert found.scores[0] == pytest.approx(1.0, abs=1e-6)
        assert reader.index_status().changed == 112
        refresh_index(collection.path)
        status = reader.index_status()
        assert (status.vectors, status.changed, status.recall) == (321, 0, 1.0)
        assert reader.nearest(query, 10).ids.tolist() == _exact(collection, query, 10)
    assert len(list(index_files(collection.path))) == 1


def test_little_change_leaves_the_file_and_is_measured(collection: Collection) -> None:
    refresh_index(collection.path)
    (before,) = index_files(collection.path)
    _put(collection, "few", _vectors(3, 5))
    refresh_index(collection.path, measure=False)
    assert _record(collection).measured_through == 0
    refresh_index(collection.path)
    assert list(index_files(collection.path)) == [before]
    assert (_record(collection).measured_through, collection.index_status().changed) == (3, 3)


def test_filters_find_as_many_as_a_scan(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh_index(collection.path)
    query = _vectors(1, 9)[0]

    def found(**filters: str) -> list[tuple[int, bool]]:
        passages = search(collection, "", query, 10, mode=SearchMode.VECTORS, filters=filters)
        return [(one.chunk_id, one.approximate) for one in passages]

    # Few are compared one by one.
    few = {name: found(**filters) for name, filters in (("half", {"half": "1"}), ("one", {"path": "d2"}))}
    assert {approximate for one in few.values() for _, approximate in one} == {False}
    monkeypatch.setattr(chunk_search, "FEW_ALLOWED", 50)
    half = found(half="1")
    assert [chunk for chunk, _ in half] == [chunk for chunk, _ in few["half"]]
    assert {approximate for _, approximate in half} == {True}
    # A filter that leaves fewer than are asked for.
    assert len(search(collection, "", query, 1000, mode=SearchMode.VECTORS, filters={"path": "d2"})) == 100
    assert found(path="nowhere") == []


def test_where_the_graph_gives_too_few_all_are_scanned(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh_index(collection.path)
    query = _vectors(1, 9)[0]
    monkeypatch.setattr("sage_libs.hnsw_graph.HnswGraph.search", lambda *_: np.arange(1, 5))
    found = collection.nearest(query, 10)
    assert (found.approximate, found.ids.tolist()) == (False, _exact(collection, query, 10))


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "reason", "remade_by_ingest"),
    [
        (_cut, "bytes; `sage kb index c` makes it again", True),
        (_flip, "is not the file that was written; `sage kb index c` makes it again", False),
        (Path.unlink, "No such file or directory; `sage kb index c` makes it again", True),
        (lambda path: path.write_bytes(b"usearch" * 100), "bytes; `sage kb index c` makes it again", True),
    ],
    ids=["torn", "altered", "missing", "foreign"],
)
async def test_a_bad_file_is_said_scanned_instead_of_and_made_again(
    collection: Collection, damage: Callable[[Path], object], reason: str, remade_by_ingest: bool
) -> None:
    refresh_index(collection.path)
    (file,) = index_files(collection.path)
    damage(file)
    query = _vectors(1, 9)[0]
    with Collection(collection.path, read_only=True) as reader:
        found = reader.nearest(query, 10)
        assert (found.approximate, found.ids.tolist()) == (False, _exact(collection, query, 10))
        assert reason in reader.index_status().note
        assert await kept_index(collection) == "400 vectors in the index; recall@10 1.00" or reason.startswith("is not")
        await make_index(collection)
        assert reader.nearest(query, 10).approximate


async def test_without_usearch_all_are_scanned_and_that_is_said(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh_index(collection.path)
    for module in (chunk_search, index_upkeep):
        monkeypatch.setattr(module, "hnsw_is_installed", lambda: False)
    with Collection(collection.path) as other:
        assert not other.nearest(_vectors(1, 9)[0], 10).approximate
        assert "pip install 'sage-mesh[ann]'" in await kept_index(other)
        with other.writing() as connection:
            index_upkeep.index_record.end_changes(connection)
        assert "pip install 'sage-mesh[ann]'" in await kept_index(other)


@pytest.mark.parametrize("step", ["begun", "saved", "renamed"])
def test_a_kill_between_sqlite_and_the_file_loses_nothing(collection: Collection, step: str) -> None:
    refresh_index(collection.path)
    query = _vectors(1, 9)[0]
    _put(collection, "new", np.stack([*_vectors(80, 6), query]))
    process = subprocess.run(
        [sys.executable, "-m", "tests.fixtures.killed_indexing", str(collection.path), step], cwd=ROOT, timeout=60
    )
    assert process.returncode == -signal.SIGKILL
    with Collection(collection.path) as opened:
        found = opened.nearest(query, 10)
        assert (found.approximate, found.ids.tolist()) == (True, _exact(opened, query, 10))
        assert opened.index_status().changed == 81
    refresh_index(collection.path)
    status = collection.index_status()
    assert (status.vectors, status.changed) == (481, 0)
    assert len(list(index_files(collection.path))) == 1
    assert collection.nearest(query, 10).ids.tolist() == _exact(collection, query, 10)


def test_two_readers_search_while_a_third_writes_and_the_file_is_replaced(collection: Collection) -> None:
    refresh_index(collection.path)
    queries = _vectors(6, 9)
    failures: list[object] = []
    done = threading.Event()

    def read() -> None:
        with Collection(collection.path, read_only=True) as reader:
            while not done.is_set():
                for query in queries:
                    found = reader.nearest(query, 10)
                    if len(found.ids) != 10 or (np.diff(found.scores) > 0).any():
                        failures.append(found)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for one in readers:
        one.start()
    try:
        for number in range(4):
            _put(collection, "d0", _vectors(100, 20 + number))
            refresh_index(collection.path)
    finally:
        done.set()
        for one in readers:
            one.join()
    assert failures == []
    assert collection.index_status().approximate


def test_an_index_that_finds_too_little_is_measured_and_not_used(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sage_libs.hnsw_graph.HnswGraph.search", lambda *_: np.arange(1, 101))
    refresh_index(collection.path)
    status = collection.index_status()
    assert not status.approximate
    assert re.search(r"it finds 0\.[123]\d of the nearest ten, less than 0\.9", status.note)
    assert not collection.nearest(_vectors(1, 9)[0], 10).approximate


def test_recall_counts_what_is_found_of_the_nearest_ten_itself_left_out(collection: Collection) -> None:
    sample = draw_sample(collection, samples=8, seed=3)
    everything = {
        tuple(vector): ids for vector, ids in ((vector, _exact(collection, vector, 11)) for vector in sample.vectors)
    }

    def find(vector: np.ndarray, k: int) -> chunk_search.FoundChunks:
        # Itself and every other one of the nearest ten.
        ids = np.array(everything[tuple(vector)][:k:2])
        return chunk_search.FoundChunks(ids, collection.vectors_of(ids) @ vector, True, None)

    assert recall_of(sample, find) == pytest.approx(0.5)  # type: ignore[arg-type]


async def test_one_at_a_time_makes_it_and_a_stopped_one_leaves_what_there_was(collection: Collection) -> None:
    refresh_index(collection.path, is_stopped=lambda: True)
    assert not list(index_files(collection.path))
    with WriterLock(collection.path.with_name("c.kb.usearch"), doing="indexing"):
        refresh_index(collection.path)
        with pytest.raises(ConflictError, match="is indexing"):
            await make_index(collection)
    assert not list(index_files(collection.path))


def test_a_full_disk_leaves_what_there_was(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh_index(collection.path)
    before = list(index_files(collection.path))
    _put(collection, "new", _vectors(50, 6))

    def full(self: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise HnswError(f"{path} cannot be written: No space left on device")

    monkeypatch.setattr("sage_libs.hnsw_graph.HnswGraph.save", full)
    with pytest.raises(HnswError, match="No space left"):
        refresh_index(collection.path)
    assert list(index_files(collection.path)) == before
    assert collection.nearest(_vectors(1, 9)[0], 10).approximate


async def test_ingest_keeps_it_and_drop_removes_it(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(6):
        (docs / f"{number}.txt").write_text(f"The ball {number} is {'blue' if number % 2 else 'green'}.")
    library = Library(tmp_path / "library")
    with library.create("c", index_above=4) as collection:
        report = await ingest(collection, docs, WordModels())
        assert report.index == "6 vectors in the index; recall@10 1.00"
        assert (await ingest(collection, docs, WordModels())).index == report.index
        (docs / "5.txt").unlink()
        assert (await ingest(collection, docs, WordModels())).index == "5 vectors in the index; recall@10 1.00"
        (docs / "4.txt").unlink()
        assert (await ingest(collection, docs, WordModels())).index == ""
        (docs / "7.txt").write_text("Snow is white.")
        await ingest(collection, docs, WordModels())
    library.drop("c")
    assert [path.name for path in library.directory.iterdir() if "lock" not in path.name] == []


def _record(collection: Collection) -> index_upkeep.IndexRecord:
    with collection.reading() as connection:
        record = index_upkeep.index_record.read_record(connection)
    assert record is not None
    return record
