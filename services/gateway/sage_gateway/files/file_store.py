"""Files of tenants: what is known of them in a bucket, their bytes as chunks in a stream.

A file is there once its record is, which is written last: an upload that broke off leaves chunks without a record,
which a sweep removes, as it does those of files that have expired. A chunk is written behind the one before it or not
at all, so that two writers of one file never mix.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

from nats.js.client import JetStreamContext

from sage_common.errors import NotFoundError
from sage_common.logging import get_logger
from sage_gateway.files.file_record import FileRecord, decode_file, encode_file, is_file_id, made_at
from sage_platform import subjects
from sage_platform.fenced_log import FencedLog, drop_log, ensure_log_stream, longest_message, read_log
from sage_platform.kv import open_bucket
from sage_platform.opened_late import OpenedLate
from sage_platform.tenant_bucket import TenantBucket

log = get_logger(__name__)

CHUNK_BYTES = 512 * 1024
# Chunks without a record may be of an upload that still goes on.
LONGEST_UPLOAD_SECONDS = 6 * 3600.0


class FileStore:
    """Keeps files.

    Args:
        now: seconds since 1970-01-01 UTC.
    """

    def __init__(self, js: JetStreamContext, now: Callable[[], float] = time.time) -> None:
        self._js = js
        self._now = now
        bucket = OpenedLate(lambda: open_bucket(js, subjects.BUCKET_FILES))
        self._records = TenantBucket(bucket, subjects.BUCKET_FILES, encode_file, decode_file)
        self._stream = OpenedLate(self._ensure_stream)

    async def get(self, tenant: str, file_id: str) -> FileRecord:
        """Return a file. Raises NotFoundError where the tenant has none of this id."""
        stored = await self._records.get(tenant, file_id) if is_file_id(file_id) else None
        if stored is None or stored.value.is_expired(self._now()):
            raise no_such_file(file_id)
        return stored.value

    async def ids(self, tenant: str) -> list[str]:
        """Return the ids of a tenant's files, the oldest first."""
        return await self._records.ids(tenant)

    async def get_all(self, tenant: str, ids: list[str]) -> list[FileRecord]:
        """Return the files of ``ids`` that are there."""
        now = self._now()
        return [record for record in await self._records.get_all(tenant, ids) if not record.is_expired(now)]

    async def used_bytes(self, tenant: str) -> int:
        """Return how many bytes a tenant's files have."""
        return sum(record.bytes for record in await self.get_all(tenant, await self.ids(tenant)))

    async def writer(self, tenant: str, file_id: str) -> FileWriter:
        """Return what writes a file's bytes."""
        await self._stream.get()
        return FileWriter(self._js, subjects.file_chunks(tenant, file_id))

    async def add(self, record: FileRecord) -> None:
        """Store the record of a file whose bytes are written; one of the same id is replaced."""
        lifetime = None if record.expires_at is None else max(1.0, record.expires_at - self._now())
        await self._records.remove(record.tenant, record.id)
        await self._records.create(record.tenant, record.id, record, lifetime)

    async def discard(self, tenant: str, file_id: str) -> None:
        """Remove the bytes of a file."""
        await self._stream.get()
        await drop_log(self._js, subjects.FILES_STREAM, subjects.file_chunks(tenant, file_id))

    async def remove(self, tenant: str, file_id: str) -> None:
        """Remove a file. Raises NotFoundError where the tenant has none of this id."""
        await self.get(tenant, file_id)
        await self._records.remove(tenant, file_id)
        await self.discard(tenant, file_id)

    async def chunks(self, record: FileRecord) -> AsyncIterator[bytes]:
        """Yield a file's bytes, one chunk in memory at a time.

        Raises:
            NotFoundError: it was removed meanwhile.
        """
        read_bytes = 0
        subject = subjects.file_chunks(record.tenant, record.id)
        async for message in read_log(self._js, subjects.FILES_STREAM, subject):
            read_bytes += len(message.data)
            yield message.data
        if read_bytes != record.bytes:
            raise no_such_file(record.id, "was deleted while it was read")

    async def sweep(self) -> int:
        """Remove chunks without a record, of uploads that broke off and of files that have expired; return of how many
        files."""
        await self._stream.get()
        info = await self._js.stream_info(subjects.FILES_STREAM, subjects_filter=subjects.FILES_ALL)
        swept = 0
        for subject in info.state.subjects or {}:
            tenant_token, file_id = subject.split(".")[-2:]
            if not is_file_id(file_id) or self._now() - made_at(file_id) < LONGEST_UPLOAD_SECONDS:
                continue
            if await self._records.has_key(f"{tenant_token}.{file_id}"):
                continue
            await drop_log(self._js, subjects.FILES_STREAM, subject)
            swept += 1
        if swept:
            log.info("chunks without a file removed", files=swept)
        return swept

    async def _ensure_stream(self) -> None:
        await ensure_log_stream(self._js, subjects.FILES_STREAM, subjects.FILES_ALL)


class FileWriter:
    """Writes one file's bytes. Raises FencedLogError where another writes the same file, and nats.errors.Error or
    asyncio.TimeoutError where JetStream does not take them.

    Attributes:
        bytes: how many were given.
        chunks: messages written.
    """

    def __init__(self, js: JetStreamContext, subject: str) -> None:
        self.bytes = 0
        self.chunks = 0
        self._log = FencedLog(js, subjects.FILES_STREAM, subject)
        self._chunk_bytes = min(CHUNK_BYTES, longest_message(js))
        self._held = bytearray()

    async def write(self, data: bytes) -> None:
        """Add bytes; return once no more than a chunk of them waits."""
        self.bytes += len(data)
        self._held += data
        while len(self._held) >= self._chunk_bytes:
            await self._append(bytes(self._held[: self._chunk_bytes]))
            del self._held[: self._chunk_bytes]

    async def finish(self) -> None:
        """Write what waits."""
        if self._held:
            await self._append(bytes(self._held))
            self._held.clear()

    async def _append(self, chunk: bytes) -> None:
        await self._log.append(chunk)
        self.chunks += 1


def no_such_file(file_id: str, why: str = "") -> NotFoundError:
    """Return the error for a file that is not there, or not any more."""
    message = f"the file {file_id[:80]!r} {why}" if why else f"no file has the id {file_id[:80]!r}"
    return NotFoundError(message, code="file_not_found", param="id")
