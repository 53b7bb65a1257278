"""The knowledge bases of a worker: where they are, whose they are, and what keeps something from being stored."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.js.kv import KeyValue

from sage_common.errors import (
    ConflictError,
    ContendedError,
    NotFoundError,
    PermissionDeniedError,
    SageError,
    UnavailableError,
    UnprocessableError,
)
from sage_dataflow_worker import knowledge_api
from sage_dataflow_worker.knowledge_api import KnowledgeApi
from sage_dataflow_worker.knowledge_home import KnowledgeHome
from sage_dataflow_worker.open_collections import OpenCollections
from sage_kernel.file_access import FileAccess
from sage_middleware.knowledge import isolated_loading
from sage_middleware.knowledge.consistency import problems_of
from sage_middleware.knowledge.index_record import set_index_above
from sage_middleware.knowledge.library import Library
from sage_platform.kv import open_bucket
from sage_platform.ring import Ring
from sage_platform.subjects import BUCKET_KNOWLEDGE
from tests.fixtures.eventually import eventually
from tests.fixtures.nats import delete_stream
from tests.fixtures.small_disk import small_disk
from tests.fixtures.word_models import WordModels

SKY = b"The sky is blue."
GRASS = b"The grass is green."


@pytest.fixture
async def bucket(ring: Ring) -> AsyncIterator[KeyValue]:
    js = ring.connection.jetstream()
    yield await open_bucket(js, BUCKET_KNOWLEDGE)
    await delete_stream(js, f"KV_{BUCKET_KNOWLEDGE}")


class Models(WordModels):
    """Waits with its answers until its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def embed(self, *arguments: object, **options: object) -> object:  # type: ignore[override]
        self.asked.set()
        await self.gate.wait()
        return await super().embed(*arguments, **options)  # type: ignore[arg-type]


def api(bucket: KeyValue, folder: Path, models: WordModels | None = None) -> KnowledgeApi:
    models = models or WordModels()
    files = FileAccess((folder.parent / "docs",), setting="dataflow_worker.allowed_roots")
    return KnowledgeApi(KnowledgeHome(bucket, folder), files, lambda _tenant: models)


def documents(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.txt").write_text(f"The ball {number} is white.")
    return folder


async def test_the_first_folder_that_keeps_one_is_the_meshs_and_another_says_so(
    bucket: KeyValue, tmp_path: Path
) -> None:
    first, twin, second = (api(bucket, tmp_path / name) for name in ("a", "a", "b"))
    # Nothing is kept yet, so neither folder is missed.
    assert await first.list_bases("") == await second.list_bases("") == []
    await first.create("", "sky", "", 0)
    assert [one.name for one in await twin.list_bases("default")] == ["sky"]
    for refused in (second.list_bases(""), second.create("", "sky", "", 0), second.store("", "sky", "a.txt", SKY, {})):
        with pytest.raises(UnavailableError, match="has not the folder of the mesh's knowledge bases") as refusal:
            await refused
        assert refusal.value.code == "knowledge_elsewhere"
        assert str(tmp_path / "a") in refusal.value.message
    assert not (tmp_path / "b").exists()
    assert await KnowledgeHome(bucket, tmp_path / "a").labels() == {"sage.knowledge": "here"}
    assert await KnowledgeHome(bucket, tmp_path / "b").labels() == {}


async def test_what_the_command_line_keeps_here_becomes_the_meshs(bucket: KeyValue, tmp_path: Path) -> None:
    Library(tmp_path / "here").create("mine").close()
    here, there = api(bucket, tmp_path / "here"), api(bucket, tmp_path / "there")
    assert [one.name for one in await here.list_bases("")] == ["mine"]
    with pytest.raises(UnavailableError):
        await there.list_bases("")


async def test_tenants_have_folders_of_their_own(bucket: KeyValue, tmp_path: Path) -> None:
    worker = api(bucket, tmp_path / "kb")
    for tenant in ("acme", "../acme", "a/b"):
        await worker.create(tenant, "own", "", 0)
        await worker.store(tenant, "own", "who.txt", f"The door of {tenant} is white.".encode(), {})
    for tenant in ("acme", "../acme", "a/b"):
        (found,) = await worker.search(tenant, "own", "white door", 1, "", {}, rerank=False)
        assert found.text == f"The door of {tenant} is white."
    assert await worker.list_bases("default") == []
    assert os.listdir(tmp_path) == ["kb"]


async def test_a_full_disk_is_said_and_loses_nothing(bucket: KeyValue, tmp_path: Path) -> None:
    docs = documents(tmp_path / "docs", 3)
    with small_disk(tmp_path / "disk", 2) as disk:
        worker = api(bucket, disk.path / "kb")
        worker._files = FileAccess((docs,))
        await worker.create("", "sky", "", 0)
        await worker.store("", "sky", "sky.txt", SKY, {})
        disk.fill()
        with pytest.raises(UnprocessableError, match=r"the disk is full|No space left"):
            await worker.store("", "sky", "long.txt", b"The grass is green. " * 8000, {})
        with pytest.raises(UnprocessableError, match=r"the disk is full|No space left"):
            await worker.create("", "other", "", 0)
        assert [one.name for one in await worker.list_bases("")] == ["sky"]
        disk.free()
        assert (await worker.store("", "sky", "grass.txt", GRASS, {})).stored == 1
        *_, (report, _) = [one async for one in worker.ingest("", "sky", str(docs), {})]
        assert report.stored == 3
        await worker.close()
        with Library(disk.path / "kb").open("sky") as collection:
            assert problems_of(collection) == []
            assert collection.counts()[0] == 5


async def test_a_folder_that_cannot_be_written_is_searched(bucket: KeyValue, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        worker = api(bucket, disk.path / "kb")
        await worker.create("", "sky", "", 0)
        await worker.store("", "sky", "sky.txt", SKY, {})
        await worker.close()
        disk.make_read_only()
        worker = api(bucket, disk.path / "kb")
        assert (await worker.search("", "sky", "blue sky", 1, "", {}, rerank=False))[0].path == "sky.txt"
        for refused in (
            worker.store("", "sky", "a.txt", GRASS, {}),
            worker.create("", "other", "", 0),
            worker.drop("", "sky"),
        ):
            with pytest.raises(SageError, match=r"cannot be|Read-only"):
                await refused
        await worker.close()


async def test_an_ingest_holds_off_others_and_a_document_waits_a_little(
    bucket: KeyValue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = documents(tmp_path / "docs", 2)
    models = Models()
    worker = api(bucket, tmp_path / "kb", models)
    await worker.create("", "balls", "", 0)
    models.gate.clear()
    first = worker.ingest("", "balls", str(docs), {})
    running = asyncio.ensure_future(_all(first))
    await models.asked.wait()
    with pytest.raises(ConflictError, match="is ingesting into 'balls'"):
        await _all(worker.ingest("", "balls", str(docs), {}))
    with pytest.raises(ConflictError, match="is ingesting into 'balls'"):
        await worker.drop("", "balls")
    monkeypatch.setattr(knowledge_api, "MOST_INGESTS", 1)
    with pytest.raises(ContendedError, match="try again soon"):
        await _all(worker.ingest("", "balls", str(docs), {}))
    storing = asyncio.ensure_future(worker.store("", "balls", "sky.txt", SKY, {}))
    models.gate.set()
    assert (await running)[-1][1]
    assert (await storing).stored == 1
    assert (await worker.get("", "balls")).documents == 3


async def test_what_is_dropped_while_a_document_is_embedded_is_not_said_to_be_stored(
    bucket: KeyValue, tmp_path: Path
) -> None:
    models = Models()
    worker = api(bucket, tmp_path / "kb", models)
    await worker.create("", "sky", "", 0)
    models.gate.clear()
    storing = asyncio.ensure_future(worker.store("", "sky", "sky.txt", SKY, {}))
    await models.asked.wait()
    await worker.drop("", "sky")
    await worker.create("", "sky", "", 0)
    models.gate.set()
    with pytest.raises(NotFoundError, match="was dropped meanwhile; nothing was stored"):
        await storing
    assert (await worker.get("", "sky")).documents == 0


async def test_an_ingest_that_nobody_follows_any_more_ends(bucket: KeyValue, tmp_path: Path) -> None:
    docs = documents(tmp_path / "docs", 2)
    models = Models()
    worker = api(bucket, tmp_path / "kb", models)
    await worker.create("", "balls", "", 0)
    models.gate.clear()
    reports = worker.ingest("", "balls", str(docs), {})
    await anext(reports)
    await reports.aclose()
    assert (await worker.drop("", "balls")).documents == 0


async def test_only_folders_below_the_roots_are_ingested(bucket: KeyValue, tmp_path: Path) -> None:
    documents(tmp_path / "docs", 1)
    secret = documents(tmp_path / "secret", 1)
    (tmp_path / "docs" / "link").symlink_to(secret)
    worker = api(bucket, tmp_path / "kb")
    await worker.create("", "docs", "", 0)
    for folder in (secret, tmp_path / "docs" / "link", tmp_path / "docs" / ".." / "secret"):
        with pytest.raises(PermissionDeniedError, match="outside the folders"):
            await _all(worker.ingest("", "docs", str(folder), {}))
    with pytest.raises(NotFoundError, match="is not there"):
        await _all(worker.ingest("", "docs", str(tmp_path / "docs" / "none"), {}))


async def test_a_damaged_one_keeps_the_others_from_nothing(bucket: KeyValue, tmp_path: Path) -> None:
    worker = api(bucket, tmp_path / "kb")
    await worker.create("", "sound", "", 0)
    (tmp_path / "kb" / "broken.kb").write_bytes(b"no database " * 1000)
    assert [one.name for one in await worker.list_bases("")] == ["sound"]
    with pytest.raises(UnprocessableError, match="is not a knowledge base"):
        await worker.get("", "broken")


async def test_collections_stay_open_until_too_many_or_dropped(tmp_path: Path) -> None:
    library = Library(tmp_path)
    opened = OpenCollections(most=2)
    for name in ("a", "b", "c"):
        library.create(name).close()
    async with opened.reading(library, "a") as first:
        for name in ("b", "c"):
            async with opened.reading(library, name):
                pass
        async with opened.reading(library, "a") as again:
            assert again is first
        library.drop("a")
        library.create("a").close()
        async with opened.reading(library, "a") as new:
            assert new is not first
        # Its users go on with what they have.
        assert first.counts() == (0, 0)
    assert len(opened._opened) == 2
    await opened.close()
    assert opened._opened == {}


async def test_a_document_that_is_hard_to_read_is_given_up(
    bucket: KeyValue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = api(bucket, tmp_path / "kb")
    await worker.create("", "pages", "", 0)
    page = b"<html><title>Sky</title><p>The sky is blue.</p></html>"
    assert (await worker.store("", "pages", "sky.html", page, {})).stored == 1
    # A program in its place that is ended by the system, and one that never ends.
    command = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(command))
    for program, reason in (
        ("kill -XCPU $$", "more than 30 s of a processor or 1024"),
        ("cat >/dev/null\nsleep 60\nexit", "longer than 0.5 s"),
    ):
        command.write_text(f"#!/bin/sh\n{program}\n")
        command.chmod(0o755)
        with pytest.raises(UnprocessableError, match=f"other.html is not stored: reading it takes {reason}"):
            await worker.store("", "pages", "other.html", page + b" ", {})
        monkeypatch.setattr(isolated_loading, "LIMITS", isolated_loading.LoadingLimits(clock_seconds=0.5))


async def _all(reports: AsyncIterator[tuple[object, bool]]) -> list[tuple[object, bool]]:
    return [report async for report in reports]


async def test_documents_that_are_stored_come_into_the_index_behind_the_call(
    bucket: KeyValue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usearch.index")
    served = api(bucket, tmp_path / "kb")
    await served.create("", "sky", "", 0)
    with KnowledgeHome(bucket, tmp_path / "kb").library("default").open("sky") as collection:
        with collection.writing() as connection:
            set_index_above(connection, 1)
        await served.store("", "sky", "a.txt", SKY, {})
        await served.store("", "sky", "b.txt", GRASS, {})

        async def is_indexed() -> bool:
            return (await served.get("", "sky")).index.approximate

        await eventually(is_indexed)
        described = (await served.get("", "sky")).index
        assert (described.vectors, described.recall) == (2, 1.0)
        (first, *_) = await served.search("", "sky", "blue sky", 1, "", {}, rerank=False)
        assert (first.path, first.approximate, first.recall) == ("a.txt", True, 1.0)
    await served.close()
