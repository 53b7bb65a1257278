"""Files: uploaded, listed, read and deleted, with the real ``openai`` client and with bare requests."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator

import aiohttp
import openai
import pytest
from fixtures.batch_client import client_of
from fixtures.eventually import eventually
from fixtures.mesh import Mesh, gateway_mesh
from fixtures.nats import NatsProcess

from sage_gateway.files.file_store import FileStore
from sage_platform import subjects

FILES = "/v1/files"
BOUNDARY = "xyz"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.fixture
async def client(mesh: Mesh) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(mesh.url, mesh.name) as client:
        yield client


def part(name: str, content: bytes, filename: str = "") -> bytes:
    named = f'; filename="{filename}"' if filename else ""
    return f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


async def chunk_counts(mesh: Mesh, tenant: str) -> dict[str, int]:
    """Messages of a tenant's files, by subject."""
    js = mesh.ring.connection.jetstream()
    found = await js.stream_info(subjects.FILES_STREAM, subjects_filter=f"sage.files.v1.{subjects.token(tenant)}.*")
    return found.state.subjects or {}


async def has_chunks(mesh: Mesh, tenant: str) -> bool:
    return bool(await chunk_counts(mesh, tenant))


async def test_a_file_is_kept_as_it_was_given(client: openai.AsyncOpenAI) -> None:
    content = os.urandom(1_300_000)
    file = await client.files.create(file=("data.bin", content), purpose="user_data")
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(content), "data.bin", "user_data")
    assert file.expires_at is None
    assert await client.files.retrieve(file.id) == file
    assert (await client.files.content(file.id)).read() == content
    deleted = await client.files.delete(file.id)
    assert deleted.deleted
    with pytest.raises(openai.NotFoundError, match="no file has the id") as missing:
        await client.files.retrieve(file.id)
    assert missing.value.code == "file_not_found"
    with pytest.raises(openai.NotFoundError):
        await client.files.content(file.id)


async def test_a_deleted_file_leaves_nothing_behind(client: openai.AsyncOpenAI, mesh: Mesh) -> None:
    file = await client.files.create(file=("data.bin", b"x" * 1000), purpose="user_data")
    assert len(await chunk_counts(mesh, mesh.name)) == 1
    await client.files.delete(file.id)
    assert await chunk_counts(mesh, mesh.name) == {}


async def test_files_expire_as_asked_and_batches_after_30_days(client: openai.AsyncOpenAI) -> None:
    asked = await client.files.create(
        file=("a", b"x"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert asked.expires_at == asked.created_at + 3600
    batch = await client.files.create(file=("a", b"x"), purpose="batch")
    assert batch.expires_at == batch.created_at + 30 * 86_400


async def test_files_are_listed_by_purpose_and_page(client: openai.AsyncOpenAI) -> None:
    made = []
    for purpose in ("batch", "user_data", "batch"):
        made.append((await client.files.create(file=("a", b"x"), purpose=purpose)).id)  # type: ignore[arg-type]
    assert [file.id async for file in client.files.list()] == made[::-1]
    assert [file.id async for file in client.files.list(order="asc", limit=1)] == made
    assert [file.id async for file in client.files.list(purpose="batch")] == [made[2], made[0]]


async def test_a_file_of_another_tenant_is_not_there(client: openai.AsyncOpenAI, mesh: Mesh) -> None:
    file = await client.files.create(file=("a", b"x"), purpose="batch")
    async with client_of(mesh.url, f"other-{mesh.name}") as other:
        for call in (other.files.retrieve, other.files.content, other.files.delete):
            with pytest.raises(openai.NotFoundError):
                await call(file.id)
        assert (await other.files.list()).data == []
    assert (await client.files.retrieve(file.id)).id == file.id


async def test_a_tenant_whose_name_holds_dots_and_stars_has_its_own_files(mesh: Mesh) -> None:
    async with client_of(mesh.url, f"{mesh.name}.*") as starred, client_of(mesh.url, f"{mesh.name}.a") as named:
        await named.files.create(file=("a", b"x"), purpose="batch")
        assert (await starred.files.list()).data == []
        assert len((await named.files.list()).data) == 1


async def test_the_fields_may_follow_the_file(http: aiohttp.ClientSession) -> None:
    body = part("file", b"content", "a.txt") + part("purpose", b"user_data") + END
    async with http.post(FILES, data=body, headers=FORM) as response:
        assert response.status == 200, await response.text()
        assert (await response.json())["bytes"] == 7


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (part("file", b"x", "a") + END, 400, "'purpose' is needed"),
        (part("purpose", b"batch") + END, 400, "'file' is needed"),
        (part("purpose", b"fine-tune") + part("file", b"x", "a") + END, 400, "is 'fine-tune'"),
        (part("purpose", b"batch") + part("purpose", b"batch") + part("file", b"x", "a") + END, 400, "twice"),
        (part("file", b"x", "a") + part("file", b"y", "b") + END, 400, "two files"),
        (part("colour", b"red") + part("purpose", b"batch") + part("file", b"x", "a") + END, 400, "'colour'"),
        (part("purpose", b"x" * 5000) + END, 400, "more than 4096 bytes"),
        (part("purpose", b"batch") + part("file", b"x", "a"), 400, "breaks off"),
        (b"no form at all", 400, "the form cannot be read"),
        (
            part("expires_after[seconds]", b"9000") + part("purpose", b"batch") + part("file", b"x", "a") + END,
            400,
            "anchor",
        ),
    ],
)
async def test_a_form_that_is_not_understood_is_refused_and_leaves_nothing(
    http: aiohttp.ClientSession, mesh: Mesh, body: bytes, status: int, said: str
) -> None:
    tenant = f"refused-{mesh.name}"
    async with http.post(FILES, data=body, headers={**FORM, "x-sage-tenant": tenant}) as response:
        error = (await response.json())["error"]
        assert response.status == status
        assert said in error["message"]
        assert error["type"] == "invalid_request_error"
    assert await chunk_counts(mesh, tenant) == {}


async def test_another_content_type_is_refused(http: aiohttp.ClientSession) -> None:
    async with http.post(FILES, json={"purpose": "batch"}) as response:
        assert response.status == 415
        assert "multipart/form-data" in (await response.json())["error"]["message"]


async def test_files_over_the_limits_are_refused_and_leave_nothing(nats_server: NatsProcess) -> None:
    limits = {"max_file_bytes": 2_000_000, "max_tenant_file_bytes": 3_000_000}
    async with gateway_mesh(nats_server, engines=False, **limits) as mesh, client_of(mesh.url, mesh.name) as client:
        with pytest.raises(openai.APIStatusError, match="more than 2000000 bytes") as refused:
            await client.files.create(file=("a", b"x" * 2_000_001), purpose="batch")
        assert refused.value.status_code == 413
        await client.files.create(file=("a", b"x" * 1_900_000), purpose="batch")
        with pytest.raises(openai.APIStatusError, match="the tenant's would have more") as full:
            await client.files.create(file=("a", b"x" * 1_900_000), purpose="batch")
        assert full.value.code == "storage_limit_exceeded"
        assert len(await chunk_counts(mesh, mesh.name)) == 1


async def test_64_megabytes_stream_through_without_being_held(mesh: Mesh, http: aiohttp.ClientSession) -> None:
    piece = os.urandom(1024 * 1024)

    async def body() -> AsyncIterator[bytes]:
        yield part("purpose", b"user_data")
        yield part("file", b"", "large")[:-2]
        for _ in range(64):
            yield piece
        yield b"\r\n" + END

    tracemalloc.start()
    try:
        async with http.post(FILES, data=body(), headers=FORM) as response:
            assert response.status == 200, await response.text()
            file = await response.json()
        assert file["bytes"] == 64 * len(piece)
        size = 0
        async with http.get(f"{FILES}/{file['id']}/content") as response:
            assert response.headers["content-length"] == str(file["bytes"])
            async for chunk in response.content.iter_any():
                assert chunk in piece * 2
                size += len(chunk)
        assert size == file["bytes"]
        assert tracemalloc.get_traced_memory()[1] < 24 * 1024 * 1024
    finally:
        tracemalloc.stop()
    async with http.delete(f"{FILES}/{file['id']}") as response:
        assert response.status == 200


async def test_an_upload_whose_client_goes_away_leaves_nothing(http: aiohttp.ClientSession, mesh: Mesh) -> None:
    tenant = f"gone-{mesh.name}"
    stored = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield part("file", b"x" * 1_000_000, "a")[:-2]
        await stored.wait()

    async def post() -> None:
        async with http.post(FILES, data=body(), headers={**FORM, "x-sage-tenant": tenant}):
            pass

    posting = asyncio.create_task(post())
    await eventually(lambda: has_chunks(mesh, tenant))
    posting.cancel()
    await asyncio.wait({posting})

    async def is_gone() -> bool:
        return not await has_chunks(mesh, tenant)

    await eventually(is_gone)


async def test_a_sweep_removes_what_a_killed_gateway_left(mesh: Mesh, client: openai.AsyncOpenAI) -> None:
    kept = await client.files.create(file=("a", b"x"), purpose="batch")
    js = mesh.ring.connection.jetstream()
    now = [kept.created_at + 10.0]
    files = FileStore(js, lambda: now[0])
    orphan = f"file-{kept.created_at * 1000:011x}{'0' * 20}"
    writer = await files.writer(mesh.name, orphan)
    await writer.write(b"half of it")
    await writer.finish()
    await files.sweep()
    assert len(await chunk_counts(mesh, mesh.name)) == 2
    now[0] += 7 * 3600
    await files.sweep()
    assert list(await chunk_counts(mesh, mesh.name)) == [subjects.file_chunks(mesh.name, kept.id)]
