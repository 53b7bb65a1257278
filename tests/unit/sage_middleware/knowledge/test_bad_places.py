"""Files and folders in which a collection cannot be kept, and what is said of them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from sage_common.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    SageError,
    UnprocessableError,
)
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.consistency import problems_of
from sage_middleware.knowledge.ingest import ingest
from sage_middleware.knowledge.library import Library, name_for_folder
from sage_middleware.knowledge.records import FileState, NewChunk
from sage_middleware.knowledge.retrieval import SearchMode, search
from tests.fixtures.small_disk import SmallDisk, small_disk
from tests.fixtures.word_models import WordModels

FILE = FileState("/docs", "a.txt", 5, 1, b"0" * 32)
CHUNK = NewChunk("", "The sky.", "body", 2, 0, 8, 1, 1, None)


def test_a_foreign_file_is_not_a_knowledge_base(tmp_path: Path) -> None:
    text = tmp_path / "text.kb"
    text.write_text("I am no database, and long enough to be looked at as if I were one." * 20)
    with pytest.raises(UnprocessableError, match="is not a knowledge base"):
        Collection(text)
    other = tmp_path / "other.kb"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(UnprocessableError, match="of another program"):
        Collection(other)
    empty = tmp_path / "empty.kb"
    empty.touch()
    with pytest.raises(UnprocessableError):
        Collection(empty)
    with pytest.raises(NotFoundError):
        Collection(tmp_path / "none.kb")


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    Collection.create(tmp_path / "c.kb").close()
    with sqlite3.connect(tmp_path / "c.kb") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UnprocessableError, match="has format 99, this SAGE reads 1"):
        Collection(tmp_path / "c.kb")


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "c.kb"
    Collection.create(path).close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(SageError, match=str(path)), Collection(path) as collection:
        collection.documents()


@pytest.mark.parametrize(
    "vectors", [[[float("nan"), 1.0]], [[float("inf"), 1.0]], [[]], [[1.0], [2.0]]], ids=["nan", "inf", "empty", "two"]
)
def test_vectors_that_are_none_store_nothing(tmp_path: Path, vectors: list[list[float]]) -> None:
    with Collection.create(tmp_path / "c.kb") as collection:
        with pytest.raises(ValueError):  # noqa: PT011 - each says something else.
            collection.put(FILE, "", [CHUNK], np.array(vectors, dtype=np.float32), "m", {})
        assert collection.counts() == (0, 0)
        collection.put(FILE, "", [CHUNK], np.ones((1, 2), dtype=np.float32), "m", {})
        with pytest.raises(ConflictError, match="drop it and ingest again"):
            collection.put(FILE, "", [CHUNK], np.ones((1, 3), dtype=np.float32), "m", {})
        assert collection.counts() == (1, 1)
        with pytest.raises(ValueError, match="have 2 numbers"):
            search(collection, "", [1.0, 2.0, 3.0], 1, mode=SearchMode.VECTORS)


async def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(200):
        (docs / f"{number}.txt").write_text(f"The sky {number} is blue. " * 400)
    with small_disk(tmp_path / "disk", 4) as disk:
        await _fill_in_ingest(disk, docs)


async def _fill_in_ingest(disk: SmallDisk, docs: Path) -> None:
    with Collection.create(disk.path / "c.kb") as collection:
        disk.fill()
        with pytest.raises(UnprocessableError, match="the disk is full"):
            await ingest(collection, docs, WordModels())
        disk.free()
        assert problems_of(collection) == []
        with pytest.raises(UnprocessableError, match="the disk is full"):
            await ingest(collection, docs, WordModels())
        assert problems_of(collection) == []


async def test_a_read_only_folder_is_searched_but_not_ingested_into(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "sky.txt").write_text("The sky is blue.")
    with small_disk(tmp_path / "disk", 4) as disk:
        file = disk.path / "c.kb"
        with Collection.create(file) as collection:
            await ingest(collection, docs, WordModels())
        disk.make_read_only()
        with Collection(file, read_only=True) as collection:
            assert [one.text for one in search(collection, "sky", None, 1, mode=SearchMode.WORDS)] == [
                "The sky is blue."
            ]
            with pytest.raises(PermissionDeniedError, match="cannot be ingested into: Read-only file system"):
                await ingest(collection, docs, WordModels())


def test_a_library_knows_its_names(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    assert library.names() == []
    library.create("docs").close()
    with pytest.raises(ConflictError, match="there already"):
        library.create("docs")
    with pytest.raises(NotFoundError, match="did you mean 'docs'"):
        library.open("dosc")
    for name in ("../x", "", ".hidden", "a/b", "x" * 101):
        with pytest.raises(InvalidRequestError):
            library.path(name)
    library.drop("docs")
    assert library.names() == []
    assert name_for_folder(tmp_path / "My docs!").startswith("My-docs-")
    assert name_for_folder(tmp_path / "a") != name_for_folder(tmp_path / "b")
