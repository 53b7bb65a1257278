"""Whether this worker has the mesh's knowledge bases: they are in one folder, and every worker that has it serves them.

The folder has an id, in a file of its own. The first folder in which a knowledge base is kept becomes the mesh's, by a
record in KV; a worker with another folder says so instead of serving, or filling, a second set of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from sage_common import paths
from sage_common.errors import PermissionDeniedError, SageError, UnavailableError, UnprocessableError, describe
from sage_common.logging import get_logger
from sage_kernel.placement.resources import WITH_KNOWLEDGE
from sage_mesh.inference_request import DEFAULT_TENANT
from sage_middleware.knowledge.library import Library
from sage_platform.jetstream_access import reaching_jetstream
from sage_platform.kv import record_fields
from sage_platform.subjects import BUCKET_KNOWLEDGE, token

log = get_logger(__name__)

ELSEWHERE = "knowledge_elsewhere"
_KEY = "home"
_ID_FILE = "library.id"
_TENANTS = "tenants"


@dataclass(frozen=True)
class HomeRecord:
    """Which folder is the mesh's.

    Attributes:
        library: its id.
        host, folder: where it was when it became that, for people.
    """

    library: str
    host: str
    folder: str


class KnowledgeHome:
    """The folder of knowledge bases that this worker has.

    Args:
        bucket: the bucket ``knowledge``.
        directory: the folder; a tenant's knowledge bases are in a folder of their own in it, those of the default
            tenant, which ``sage kb`` makes on this machine, in itself.
    """

    def __init__(self, bucket: KeyValue, directory: Path) -> None:
        self._bucket = bucket
        self._directory = directory

    def library(self, tenant: str) -> Library:
        """Return a tenant's knowledge bases, without a look at whether they are the mesh's."""
        if tenant in ("", DEFAULT_TENANT):
            return Library(self._directory)
        return Library(self._directory / _TENANTS / token(tenant))

    async def check(self, *, claims: bool = False) -> None:
        """Make sure that this worker's folder is the mesh's.

        Args:
            claims: whether it becomes that where no folder is yet.

        Raises:
            UnavailableError: the mesh's is another one, which this worker has not; or NATS does not answer.
            PermissionDeniedError, UnprocessableError: the folder cannot be made, or written.
        """
        own = await asyncio.to_thread(self._id, makes=False)
        with reaching_jetstream():
            record = await self._record()
            if record is None and claims and not own:
                own = await asyncio.to_thread(self._id, makes=True)
            if record is None and own:
                record = await self._claim(own)
        if record is not None and record.library != own:
            raise UnavailableError(
                f"this worker has not the folder of the mesh's knowledge bases, which was {record.folder} on "
                f"{record.host} when it was made (id {record.library}); here {self._directory} "
                f"{f'is another one (id {own})' if own else 'has none'}: let dataflow_worker.knowledge_dir name that "
                "folder on every worker of its machine. Where it is gone for good, delete the key "
                f"{_KEY!r} of the bucket {BUCKET_KNOWLEDGE!r} in NATS, and this one takes its place",
                code=ELSEWHERE,
                retryable=True,
            )

    async def labels(self) -> dict[str, str]:
        """Return what this worker is labelled with: that it has the knowledge bases, where it has."""
        with contextlib.suppress(SageError):
            await self.check()
            return dict(WITH_KNOWLEDGE)
        return {}

    async def _record(self) -> HomeRecord | None:
        try:
            entry = await self._bucket.get(_KEY)
        except KeyNotFoundError:
            return None
        try:
            return HomeRecord(**record_fields(HomeRecord, entry.value or b""))
        except (TypeError, ValueError) as error:
            raise UnavailableError(
                f"the record {_KEY!r} in the bucket {BUCKET_KNOWLEDGE!r} of NATS cannot be read ({error}); delete it, "
                "and the next worker with knowledge bases makes it again",
                code="knowledge_record",
            ) from None

    async def _claim(self, own: str) -> HomeRecord | None:
        record = HomeRecord(own, socket.gethostname(), str(self._directory))
        try:
            await self._bucket.create(_KEY, orjson.dumps(asdict(record)))
        except KeyWrongLastSequenceError:
            return await self._record()
        log.info("this folder holds the mesh's knowledge bases", folder=record.folder, library=own)
        return record

    def _id(self, *, makes: bool) -> str:
        """Return the folder's id; empty where it has none, and is not to get one because nothing is kept in it."""
        file = self._directory / _ID_FILE
        try:
            known = _read(file)
            if known or not (makes or self._is_used()):
                return known
            paths.private_dir(self._directory)
            _make(file, secrets.token_hex(8))
            return _read(file)
        except OSError as error:
            if not makes:
                # What is there can be searched all the same; a folder that cannot be written becomes nobody's.
                return ""
            kind = PermissionDeniedError if isinstance(error, PermissionError) else UnprocessableError
            raise kind(
                f"knowledge bases cannot be kept in {self._directory}: {error.strerror or describe(error)}; see to it, "
                "or to dataflow_worker.knowledge_dir"
            ) from error

    def _is_used(self) -> bool:
        return bool(Library(self._directory).names()) or (self._directory / _TENANTS).is_dir()


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        return ""


def _make(file: Path, content: str) -> None:
    """Write a file whole, unless it is there; another worker of this machine may do the same now."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        unfinished.write_text(content)
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
