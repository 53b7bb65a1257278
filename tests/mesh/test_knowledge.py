"""Knowledge bases of a running mesh with keys: filled by REST, at the worker and by jobs; whose they are; kill -9."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from fixtures.eventually import eventually
from fixtures.process_mesh import process_mesh

import sage
from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_client.jobs.job_client import open_jobs
from sage_client.knowledge.knowledge_bases import KnowledgeBases
from sage_client.knowledge.knowledge_client import open_knowledge
from sage_common.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnprocessableError,
)
from sage_middleware.knowledge.consistency import problems_of
from sage_middleware.knowledge.library import Library
from sage_middleware.knowledge.writer_lock import WriterLock

KEYS = {"k-acme": "acme", "k-other": "other", "k-ops": {"tenant": "ops", "operator": True}}
LEAVE = b"# Handbook\n\n## Leave\n\nEverybody has thirty days of leave a year.\n"
TRAVEL = b"# Handbook\n\n## Travel\n\nTrains are booked in second class.\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("knowledge")


@pytest.fixture(scope="module")
def mesh(home: Path) -> Iterator[IsolatedMesh]:
    (home / "docs").mkdir()
    settings = {
        "SAGE_ACCESS_API_KEYS": json.dumps(KEYS),
        "SAGE_DATAFLOW_WORKER_ALLOWED_ROOTS": json.dumps([str(home / "docs")]),
        "SAGE_DATAFLOW_WORKER_KNOWLEDGE_DIR": str(home / "bases"),
    }
    replicas = {"dataflow-worker": 1, "embed-executor": 1}
    with process_mesh(home / "mesh", replicas=replicas, settings=settings) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def target(request: pytest.FixtureRequest, mesh: IsolatedMesh) -> str:
    port = mesh.processes("dataflow-worker")[0].ports["grpc"]
    return mesh.gateway_url if request.param == "http" else f"grpc://127.0.0.1:{port}"


@pytest.fixture
async def acme(target: str) -> AsyncIterator[KnowledgeBases]:
    opened = await open_knowledge(target, api_key="k-acme")
    yield opened
    await opened.close()


async def test_documents_are_stored_found_listed_and_removed(acme: KnowledgeBases) -> None:
    made = await acme.create("handbook", chunk_tokens=64)
    assert (made.name, made.documents, made.embedding_model, made.chunk_tokens) == ("handbook", 0, "", 64)
    with pytest.raises(ConflictError, match="the knowledge base 'handbook' is there already"):
        await acme.create("handbook")
    stored = await acme.store("handbook", "hr/leave.md", LEAVE, {"team": "hr"})
    assert (stored.stored, stored.passages, stored.embedded) == (True, 1, 1)
    assert not (await acme.store("handbook", "hr/leave.md", LEAVE, {"team": "hr"})).stored
    await acme.store("handbook", "travel é.md", TRAVEL, {"team": "travel"})

    first, second = await acme.search("handbook", "How many days of leave?")
    assert (first.path, first.heading, first.metadata) == ("hr/leave.md", "Handbook > Leave", {"team": "hr"})
    assert first.text == "Everybody has thirty days of leave a year."
    assert first.vector_rank == first.word_rank == 1
    assert (first.score or 0) > (second.score or 0) > 0
    assert (first.word_score or 0) > 0
    assert second.word_score is None
    (filtered,) = await acme.search("handbook", "How many days of leave?", filters={"team": "travel"})
    assert filtered.path == "travel é.md"
    (words,) = await acme.search("handbook", "second class", mode="words", filters={"path": "travel*"})
    assert (words.score, words.vector_rank) == (None, None)
    with pytest.raises(InvalidRequestError, match="did you mean"):
        await acme.search("handbook", "leave", mode="word")

    page = await acme.documents("handbook", limit=1)
    assert (page.total, [one.path for one in page.documents]) == (2, ["hr/leave.md"])
    rest = await acme.documents("handbook", after=page.documents[0].id)
    assert [(one.path, one.folder, one.passages) for one in rest.documents] == [("travel é.md", "", 1)]
    lines = b"".join([piece async for piece in acme.export("handbook", vectors=True)]).splitlines()
    assert [(one["path"], len(one["vector"])) for one in map(json.loads, lines)] == [
        ("hr/leave.md", 384),
        ("travel é.md", 384),
    ]
    await acme.remove("handbook", "travel é.md")
    with pytest.raises(NotFoundError, match="has no document"):
        await acme.remove("handbook", "travel é.md")
    dropped = await acme.drop("handbook")
    assert (dropped.documents, dropped.passages) == (1, 1)
    with pytest.raises(NotFoundError):
        await acme.search("handbook", "leave")


async def test_what_cannot_be_stored_is_refused_with_the_reason(acme: KnowledgeBases) -> None:
    await acme.create("bad")
    for path, data, reason in (
        ("a.pdf", b"%PDF-1.7 nothing", "it is not a PDF that can be read"),
        ("a.docx", b"PK\x03\x04 nothing", r"(it is not a \.docx file|\.docx needs)"),
        ("a.txt", b"\xff\xfe\xfd", "it is not UTF-16 text"),
        ("a.exe", b"MZ", ".exe is not a format that is read"),
        ("a.md", b"  \n", "it holds no text"),
    ):
        with pytest.raises(UnprocessableError, match=f"{path} is not stored: {reason}"):
            await acme.store("bad", path, data)
    with pytest.raises(InvalidRequestError, match="cannot name a document"):
        await acme.store("bad", "a//b.md", LEAVE)
    with pytest.raises(InvalidRequestError, match="cannot be the name of a knowledge base"):
        await acme.create("../bad")
    with pytest.raises(TooLargeError, match="the limit is 33554432; split it"):
        await acme.store("bad", "large.md", bytes(64 * 1000 * 1000))
    assert (await acme.drop("bad")).documents == 0


async def test_a_knowledge_base_is_its_tenants_and_an_operator_acts_for_them(target: str) -> None:
    acme, other, nobody = [await open_knowledge(target, api_key=key) for key in ("k-acme", "k-other", "k-wrong")]
    ops = await open_knowledge(target, api_key="k-ops", tenant="acme")
    thief = await open_knowledge(target, api_key="k-other", tenant="acme")
    try:
        await acme.create("own")
        await acme.store("own", "leave.md", LEAVE)
        assert await other.list_bases() == []
        for ask in (other.get, other.drop, other.documents, lambda name: other.search(name, "leave")):
            with pytest.raises(NotFoundError, match="there is no knowledge base 'own'"):
                await ask("own")
        with pytest.raises(NotFoundError):
            await other.store("own", "leave.md", TRAVEL)
        with pytest.raises(PermissionDeniedError, match="another tenant's"):
            await thief.list_bases()
        with pytest.raises(UnauthenticatedError):
            await nobody.list_bases()
        # A name is free for every tenant.
        await other.create("own")
        assert (await other.get("own")).documents == 0
        assert [(one.name, one.documents) for one in await ops.list_bases()] == [("own", 1)]
        assert (await ops.search("own", "leave"))[0].path == "leave.md"
    finally:
        await acme.drop("own")
        await other.drop("own")
        for opened in (acme, other, nobody, ops, thief):
            await opened.close()


async def test_a_folder_of_the_worker_is_ingested_by_one_at_a_time(acme: KnowledgeBases, home: Path) -> None:
    folder = home / "docs" / "handbook"
    folder.mkdir(exist_ok=True)
    (folder / "leave.md").write_bytes(LEAVE)
    (folder / "travel.md").write_bytes(TRAVEL)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    await acme.create("folder")
    try:
        reports = [report async for report in acme.ingest("folder", str(folder), {"team": "hr"})]
        assert [report.done for report in reports] == [*[False] * (len(reports) - 1), True]
        last = reports[-1]
        assert (last.files, last.stored, last.left_out_total) == (3, 2, 1)
        assert last.left_out[0][0] == "broken.pdf"
        assert [report async for report in acme.ingest("folder", str(folder))][-1].unchanged == 2
        (found, _) = await acme.search("folder", "leave", filters={"team": "hr", "folder": "*/handbook"})
        assert found.path == "leave.md"
        with pytest.raises(PermissionDeniedError, match="outside the folders"):
            await anext(aiter(acme.ingest("folder", "/etc")))
        library = Library(home / "bases" / "tenants" / "acme")
        with WriterLock(library.path("folder")):
            with pytest.raises(ConflictError, match="is ingesting into 'folder'"):
                await anext(aiter(acme.ingest("folder", str(folder))))
            with pytest.raises(ConflictError, match="is ingesting into 'folder'"):
                await acme.drop("folder")
    finally:
        await acme.drop("folder")


async def test_what_jobs_store_is_found_by_rest_and_by_jobs(mesh: IsolatedMesh) -> None:
    notes = sage.Pipeline("notes")
    notes.source(
        records=[
            {"ticket": 7, "answer": "The blue door opens with the green key.", "team": "doors"},
            {"ticket": 8, "answer": "Windows are cleaned on Fridays.", "team": "windows"},
        ]
    ).sink("kb:tickets", id="{team}/{ticket}", fields=["answer", "team"])
    asks = sage.Pipeline("asks")
    asks.source(records=[{"q": "which key is for the door"}]).embed("{q}").retrieve("kb:tickets", words="q", k=1).sink(
        "collection:found", fields=["context"]
    )
    jobs = await open_jobs(mesh.gateway_url, api_key="k-acme")
    knowledge = await open_knowledge(mesh.gateway_url, api_key="k-acme")
    foreign = await open_jobs(mesh.gateway_url, api_key="k-other")
    try:
        for _ in range(2):  # A job that stores the same again changes nothing.
            job = [job async for job in jobs.watch((await jobs.submit(notes)).job_id)][-1]
            assert (job.state, job.errors) == ("succeeded", ())
            assert (await knowledge.get("tickets")).documents == 2
        (found,) = await knowledge.search("tickets", "which key opens the door", filters={"team": "doors"})
        assert (found.path, found.text, found.metadata) == (
            "doors/7",
            "The blue door opens with the green key.",
            {"team": "doors"},
        )
        asked = await jobs.submit(asks)
        assert [job async for job in jobs.watch(asked.job_id)][-1].state == "succeeded"
        records = [record async for piece in jobs.results(asked.job_id) for record in piece.records]
        assert records[0]["context"][0]["path"] == "doors/7"
        # Another tenant's job has its own knowledge bases, and no such one.
        stranger = [job async for job in foreign.watch((await foreign.submit(asks)).job_id)][-1]
        assert stranger.state == "failed"
        assert "there is no knowledge base 'tickets'" in stranger.errors[0]
    finally:
        for opened in (jobs, knowledge, foreign):
            await opened.close()


async def test_a_worker_that_is_killed_in_an_ingest_loses_nothing(mesh: IsolatedMesh, home: Path) -> None:
    folder = home / "docs" / "many"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.md").write_text(f"# Part {number}\n\nShelf {number} holds box {number}.\n")
    knowledge = await open_knowledge(mesh.gateway_url, api_key="k-acme")
    try:
        await knowledge.create("many")
        (worker,) = mesh.processes("dataflow-worker")
        assert worker.identity is not None
        library = Library(home / "bases" / "tenants" / "acme")
        with library.open("many", read_only=True) as collection:

            async def ingest() -> None:
                async for report in knowledge.ingest("many", str(folder)):
                    assert not report.done

            ingesting = asyncio.create_task(ingest())
            await eventually(lambda: collection.counts()[0] > 0, seconds=60)
            os.kill(worker.identity.pid, signal.SIGKILL)
            with pytest.raises(UnavailableError):
                await ingesting
        with library.open("many") as collection:
            assert problems_of(collection) == []
            stored = collection.counts()[0]
            assert 0 < stored < 300

        async def serves_again() -> bool:
            try:
                return (await knowledge.get("many")).documents >= stored
            except UnavailableError:
                return False

        await eventually(serves_again, seconds=60)
        last = [report async for report in knowledge.ingest("many", str(folder))][-1]
        assert (last.files, last.stored + last.unchanged) == (300, 300)
        assert last.unchanged >= stored
        assert (await knowledge.search("many", "which shelf holds box 217", k=1))[0].path == "217.md"
    finally:
        await knowledge.close()


async def test_a_caller_who_goes_away_ends_the_ingest(mesh: IsolatedMesh, home: Path) -> None:
    folder = home / "docs" / "long"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.md").write_text(f"# Chapter {number}\n\nLamp {number} is in room {number}.\n")
    knowledge = await open_knowledge(mesh.gateway_url, api_key="k-acme")
    try:
        await knowledge.create("long")
        async with aiohttp.ClientSession(mesh.gateway_url, headers={"authorization": "Bearer k-acme"}) as session:
            path = "/v1/management/kb/long/ingest?follow=true"
            async with session.post(path, json={"folder": str(folder)}) as response:
                assert response.status == 200
                await response.content.readline()

        async def is_free() -> bool:
            # To drop it needs the lock that an ingest holds.
            try:
                return (await knowledge.drop("long")).documents < 300
            except ConflictError:
                return False

        await eventually(is_free, seconds=20)
    finally:
        await knowledge.close()
