from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sage_common.errors import ConflictError, NotFoundError, UnavailableError
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.consistency import problems_of
from sage_middleware.knowledge.ingest import ingest
from sage_middleware.knowledge.ingest_report import IngestReport
from sage_middleware.knowledge.writer_lock import WriterLock
from tests.fixtures.word_models import WordModels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "sky.md").write_text("# Sky\n\nThe sky is blue.\n\n## Night\n\nThen it is black.\n")
    (docs / "grass.txt").write_text("Grass is green.")
    (docs / "snow.html").write_text("<title>Snow</title><p>Snow is white.</p>")
    return docs


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    with Collection.create(tmp_path / "c.kb") as made:
        yield made


async def test_a_document_is_stored_with_its_headings_places_and_title(collection: Collection, folder: Path) -> None:
    report = await ingest(collection, folder, WordModels())
    assert (report.files, report.stored, report.chunks, report.embedded) == (3, 3, 4, 4)
    documents = {one.file.path: one for one in collection.documents()}
    first, night = collection.neighbours(documents["sky.md"].id, 0, 9)
    assert (first.heading, first.text, first.line) == ("Sky", "The sky is blue.", 3)
    assert (night.heading, night.text, night.place) == ("Sky > Night", "Then it is black.", "sky.md:7")
    assert documents["snow.html"].title == "Snow"
    assert problems_of(collection) == []


async def test_unchanged_files_are_not_read_again(collection: Collection, folder: Path) -> None:
    models = WordModels()
    await ingest(collection, folder, models)
    models.embedded.clear()
    # Its content cannot be read any more, its state can.
    _spoil(folder)
    report = await ingest(collection, folder, models)
    assert (report.unchanged, report.stored, models.embedded) == (3, 0, [])


def _spoil(folder: Path) -> None:
    for file in folder.iterdir():
        state = file.stat()
        file.write_bytes(b"x" * state.st_size)
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


async def test_a_touched_file_is_read_but_not_embedded(collection: Collection, folder: Path) -> None:
    models = WordModels()
    await ingest(collection, folder, models)
    models.embedded.clear()
    os.utime(folder / "sky.md", ns=(1, 1))
    assert (await ingest(collection, folder, models)).unchanged == 3
    assert models.embedded == []
    assert {one.file.path: one.file.mtime_ns for one in collection.documents()}["sky.md"] == 1


async def test_of_a_changed_file_only_the_changed_sections_are_embedded(collection: Collection, folder: Path) -> None:
    models = WordModels()
    await ingest(collection, folder, models)
    models.embedded.clear()
    (folder / "sky.md").write_text("# Sky\n\nThe sky is blue.\n\n## Night\n\nThen it is dark.\n")
    report = await ingest(collection, folder, models)
    assert models.embedded == ["Sky > Night\nThen it is dark."]
    assert (report.stored, report.unchanged, collection.counts()) == (1, 2, (3, 4))
    assert problems_of(collection) == []


async def test_a_moved_file_keeps_its_vectors_and_a_deleted_one_goes(collection: Collection, folder: Path) -> None:
    models = WordModels()
    await ingest(collection, folder, models)
    models.embedded.clear()
    (folder / "weather").mkdir()
    (folder / "sky.md").rename(folder / "weather" / "above.md")
    (folder / "grass.txt").unlink()
    report = await ingest(collection, folder, models)
    assert (report.moved, report.removed, models.embedded) == (1, 1, [])
    assert [one.file.path for one in collection.documents()] == ["snow.html", "weather/above.md"]
    assert problems_of(collection) == []


async def test_a_document_that_is_called_by_its_files_name_is_read_again_under_another(
    collection: Collection, folder: Path
) -> None:
    models = WordModels()
    await ingest(collection, folder, models)
    models.embedded.clear()
    (folder / "grass.txt").rename(folder / "meadow.txt")
    report = await ingest(collection, folder, models)
    assert (report.moved, report.stored, report.removed) == (0, 1, 1)
    assert models.embedded == ["meadow\nGrass is green."]


async def test_copies_are_stored_beside_each_other(collection: Collection, folder: Path) -> None:
    models = WordModels()
    (folder / "more").mkdir()
    (folder / "more" / "grass.txt").write_text("Grass is green.")
    await ingest(collection, folder, models)
    assert models.embedded.count("grass\nGrass is green.") == 1
    (folder / "more" / "grass.txt").unlink()
    assert (await ingest(collection, folder, models)).removed == 1
    assert "grass.txt" in {one.file.path for one in collection.documents()}


async def test_files_that_cannot_be_read_are_left_out_with_a_line_each(collection: Collection, folder: Path) -> None:
    (folder / "cut.pdf").write_bytes(b"%PDF-1.7\n1 0 obj <<")
    (folder / "latin.txt").write_bytes("Die Tür ist weiß".encode("latin-1"))
    (folder / "binary.txt").write_bytes(b"\0\1\2" * 50)
    (folder / "heading.md").write_text("# Nothing below\n")
    report = await ingest(collection, folder, WordModels())
    assert report.stored == 3
    reasons = dict(report.left_out)
    assert set(reasons) == {"cut.pdf", "latin.txt", "binary.txt", "heading.md"}
    assert "not a PDF that can be read" in reasons["cut.pdf"]
    assert "save it as UTF-8" in reasons["latin.txt"]
    assert all("\n" not in reason for reason in reasons.values())


async def test_a_file_that_can_no_longer_be_read_keeps_what_was_read(collection: Collection, folder: Path) -> None:
    await ingest(collection, folder, WordModels())
    (folder / "grass.txt").write_bytes(b"\xff\xfe\xfa" * 7)
    report = await ingest(collection, folder, WordModels())
    ((item, reason),) = report.left_out
    assert item == "grass.txt"
    assert reason.endswith("what was read of it before stays")
    assert collection.counts()[0] == 3


async def test_vectors_of_another_model_are_refused(collection: Collection, folder: Path) -> None:
    await ingest(collection, folder, WordModels())
    (folder / "new.txt").write_text("A ball.")
    with pytest.raises(ConflictError, match=r"are of words \(9 numbers\), not of other \(9\)"):
        await ingest(collection, folder, WordModels("other"))
    with pytest.raises(ConflictError, match=r"not of words \(3\)"):
        await ingest(collection, folder, WordModels(words=("a", "b")))
    assert collection.counts()[0] == 3


async def test_a_second_ingest_at_the_same_time_is_refused_by_name(collection: Collection, folder: Path) -> None:
    with (
        WriterLock(collection.path),
        pytest.raises(ConflictError, match=f"process {os.getpid()} is ingesting into 'c'"),
    ):
        await ingest(collection, folder, WordModels())
    assert (await ingest(collection, folder, WordModels())).stored == 3


async def test_after_a_failure_the_next_ingest_goes_on(collection: Collection, folder: Path) -> None:
    models = WordModels()
    models.failure = UnavailableError("no engine")
    with pytest.raises(UnavailableError):
        await ingest(collection, folder, models)
    models.failure = None
    assert (await ingest(collection, folder, models)).stored == 3


async def test_one_document_leaves_the_others_of_its_folder_alone(collection: Collection, folder: Path) -> None:
    await ingest(collection, folder, WordModels())
    (folder / "grass.txt").write_text("Grass is blue.")
    report = await ingest(collection, folder / "grass.txt", WordModels())
    assert (report.stored, report.removed, collection.counts()[0]) == (1, 0, 3)


async def test_a_missing_folder_removes_nothing(collection: Collection, folder: Path) -> None:
    await ingest(collection, folder, WordModels())
    with pytest.raises(NotFoundError):
        await ingest(collection, folder / "elsewhere", WordModels())
    shutil.rmtree(folder)
    with pytest.raises(NotFoundError):
        await ingest(collection, folder, WordModels())
    assert collection.counts()[0] == 3


async def test_progress_is_told_and_ends_with_the_report(collection: Collection, folder: Path) -> None:
    seen: list[IngestReport] = []
    report = await ingest(collection, folder, WordModels(), on_progress=seen.append)
    assert (seen[0].files, seen[0].stored) == (3, 0)
    assert seen[-1] == report
