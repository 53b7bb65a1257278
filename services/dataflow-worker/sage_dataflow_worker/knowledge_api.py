"""What people and programs do with knowledge bases: make, fill, search, list, write out, drop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sage_apps.knowledge_answers import find_passages
from sage_client.knowledge.knowledge_limits import (
    DEFAULT_PAGE_DOCUMENTS,
    DEFAULT_PASSAGES,
    MAX_DOCUMENT_BYTES,
    MOST_PASSAGES,
    document_too_large,
)
from sage_common.config import nearest
from sage_common.errors import ContendedError, InvalidRequestError, NotFoundError, SageError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_dataflow_worker.background_indexing import BackgroundIndexing
from sage_dataflow_worker.knowledge_home import KnowledgeHome
from sage_dataflow_worker.open_collections import OpenCollections
from sage_kernel.file_access import FileAccess
from sage_kernel.model_port import ModelPort
from sage_libs.loaders import UnreadableDocumentError, format_of
from sage_middleware.knowledge.chunk_search import IndexStatus
from sage_middleware.knowledge.collection import DEFAULT_CHUNK_TOKENS, Collection
from sage_middleware.knowledge.document_page import document_page
from sage_middleware.knowledge.export import export_lines
from sage_middleware.knowledge.given_documents import (
    DocumentWriter,
    GivenDocument,
    StoreReport,
    checked_path,
    remove_given,
)
from sage_middleware.knowledge.ingest import ingest
from sage_middleware.knowledge.ingest_report import IngestReport
from sage_middleware.knowledge.isolated_loading import load_isolated
from sage_middleware.knowledge.records import Passage, StoredDocument
from sage_middleware.knowledge.retrieval import SearchMode

log = get_logger(__name__)

MOST_CHUNK_TOKENS = 8192
LEAST_CHUNK_TOKENS = 16
MOST_PAGE_DOCUMENTS = 10_000
MOST_INGESTS = 4
# Of documents that are read and embedded at once, and that wait for that.
DOCUMENTS_AT_ONCE = 4
MOST_WAITING_DOCUMENTS = 32
_EXPORT_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class KnowledgeBase:
    """A collection as it is now; ``bytes`` is the size of its file, ``model`` and ``index`` are of its vectors."""

    name: str
    documents: int
    passages: int
    model: str | None
    chunk_tokens: int
    bytes: int
    index: IndexStatus


class KnowledgeApi:
    """Acts on the knowledge bases of the mesh. Every method is for one tenant, and first makes sure that this worker
    has the mesh's; see ``KnowledgeHome.check`` for what it raises where it has not.

    Args:
        files: which folders may be ingested.
        models_for: returns how a tenant reaches models.
    """

    def __init__(self, home: KnowledgeHome, files: FileAccess, models_for: Callable[[str], ModelPort]) -> None:
        self._home = home
        self._files = files
        self._models_for = models_for
        self._opened = OpenCollections()
        self._indexing = BackgroundIndexing()
        self._ingests = 0
        self._documents = 0
        self._document_slots = asyncio.Semaphore(DOCUMENTS_AT_ONCE)

    async def close(self) -> None:
        """Close what was opened."""
        await self._indexing.close()
        await self._opened.close()

    async def list_bases(self, tenant: str) -> list[KnowledgeBase]:
        """Return a tenant's knowledge bases by name. One that cannot be read is left out, and logged."""
        await self._home.check()
        library, found = self._home.library(tenant), []
        for name in await asyncio.to_thread(library.names):
            try:
                found.append(await self.get(tenant, name))
            except SageError as error:
                log.warning("knowledge base not listed", name=name, tenant=tenant, reason=error.message)
        return found

    async def create(self, tenant: str, name: str, model: str, chunk_tokens: int) -> KnowledgeBase:
        """Make an empty one. Raises ConflictError, InvalidRequestError."""
        tokens = chunk_tokens or DEFAULT_CHUNK_TOKENS
        if not LEAST_CHUNK_TOKENS <= tokens <= MOST_CHUNK_TOKENS:
            raise InvalidRequestError(
                f"chunk_tokens is {tokens}; take {LEAST_CHUNK_TOKENS} to {MOST_CHUNK_TOKENS}", param="chunk_tokens"
            )
        library = self._home.library(tenant)
        library.path(name)
        await self._home.check(claims=True)

        def made() -> KnowledgeBase:
            with library.create(name, model=model or None, chunk_tokens=tokens) as collection:
                return _described(collection)

        return await asyncio.to_thread(made)

    async def get(self, tenant: str, name: str) -> KnowledgeBase:
        """Return one. Raises NotFoundError."""
        async with self._reading(tenant, name) as collection:
            return await asyncio.to_thread(_described, collection)

    async def drop(self, tenant: str, name: str) -> KnowledgeBase:
        """Remove one, and return it as it was. Raises NotFoundError, ConflictError while it is ingested into."""
        dropped = await self.get(tenant, name)
        await asyncio.to_thread(self._home.library(tenant).drop, name)
        return dropped

    async def documents(self, tenant: str, name: str, limit: int, after: int) -> tuple[list[StoredDocument], int]:
        """Return documents behind the id ``after``, by id, and how many there are in all."""
        most = min(limit or DEFAULT_PAGE_DOCUMENTS, MOST_PAGE_DOCUMENTS)

        def page(collection: Collection) -> tuple[list[StoredDocument], int]:
            return document_page(collection, after, most), collection.counts()[0]

        async with self._reading(tenant, name) as collection:
            return await asyncio.to_thread(page, collection)

    async def store(self, tenant: str, name: str, path: str, data: bytes, metadata: Mapping[str, str]) -> StoreReport:
        """Store one document, in place of the one at its path.

        Raises:
            TooLargeError: it has more than 32 MiB.
            ContendedError: too many wait.
            SageError: see ``load_isolated`` and ``DocumentWriter.store``.
        """
        checked_path(path)
        if len(data) > MAX_DOCUMENT_BYTES:
            raise document_too_large(len(data))
        await self._check(tenant, name)
        file_name = PurePosixPath(path).name
        suffix = format_of(file_name) or PurePosixPath(path).suffix
        async with self._document_slot():
            try:
                loaded = await load_isolated(data, suffix)
            except UnreadableDocumentError as error:
                raise UnreadableDocumentError(f"{path} is not stored: {error.message}", param="path") from None
            with await asyncio.to_thread(self._home.library(tenant).open, name) as collection:
                given = GivenDocument(path, data, metadata, suffix, loaded)
                report = await DocumentWriter(collection, self._models_for(tenant)).store([given])
        self._indexing.begin(self._home.library(tenant).path(name))
        return report

    async def remove(self, tenant: str, name: str, path: str) -> None:
        """Remove a document that was given. Raises NotFoundError: there is none at this path."""
        await self._home.check()
        with await asyncio.to_thread(self._home.library(tenant).open, name) as collection:
            if not await remove_given(collection, path):
                raise NotFoundError(
                    f"the knowledge base {name!r} has no document {path[:200]!r} that was stored by itself; those of a "
                    "folder go when their file has gone and the folder is ingested again",
                    param="path",
                )
        self._indexing.begin(self._home.library(tenant).path(name))

    async def ingest(
        self, tenant: str, name: str, folder: str, metadata: Mapping[str, str]
    ) -> AsyncGenerator[tuple[IngestReport, bool], None]:
        """Bring one up to date with a folder; yield how far it has come, and whether that is its end.

        Raises:
            PermissionDeniedError: the folder is outside the allowed roots.
            ContendedError: too many folders are ingested now.
            SageError: see ``ingest``.
        """
        place = self._files.check(Path(folder))
        await self._check(tenant, name)
        if self._ingests >= MOST_INGESTS:
            raise ContendedError(f"{self._ingests} folders are ingested now; try again soon", retry_after_seconds=5.0)
        self._ingests += 1
        try:
            with await asyncio.to_thread(self._home.library(tenant).open, name) as collection:
                reports = _reports(collection, place, self._models_for(tenant), metadata)
                async with aclosing(reports):
                    async for report in reports:
                        yield report
        finally:
            self._ingests -= 1

    async def search(
        self,
        tenant: str,
        name: str,
        question: str,
        k: int,
        mode: str,
        filters: Mapping[str, str],
        *,
        rerank: bool,
    ) -> list[Passage]:
        """Return the passages that answer a question best. Raises InvalidRequestError, and as ``find_passages``."""
        modes = [one.value for one in SearchMode]
        mode = mode or SearchMode.HYBRID.value
        if mode not in modes:
            close = nearest(mode, modes)
            raise InvalidRequestError(f"there is no mode {mode[:40]!r}{close}; take {' or '.join(modes)}", param="mode")
        k = k or DEFAULT_PASSAGES
        if k > MOST_PASSAGES:
            raise InvalidRequestError(f"k is {k}; ask for at most {MOST_PASSAGES} passages", param="k")
        async with self._reading(tenant, name) as collection:
            return await find_passages(
                collection,
                question,
                self._models_for(tenant),
                k,
                mode=SearchMode(mode),
                filters=filters,
                rerank=rerank,
            )

    async def export(self, tenant: str, name: str, *, vectors: bool) -> AsyncIterator[bytes]:
        """Yield every passage as JSON, whole lines at a time."""
        async with self._reading(tenant, name) as collection:
            lines = export_lines(collection, vectors=vectors)

            def some() -> bytes:
                found = bytearray()
                while len(found) < _EXPORT_BYTES and (line := next(lines, None)) is not None:
                    found += line
                return bytes(found)

            while piece := await asyncio.to_thread(some):
                yield piece

    @asynccontextmanager
    async def _reading(self, tenant: str, name: str) -> AsyncIterator[Collection]:
        await self._home.check()
        async with self._opened.reading(self._home.library(tenant), name) as collection:
            yield collection

    async def _check(self, tenant: str, name: str) -> None:
        """Make sure that there is such a knowledge base before work is done for it. Raises NotFoundError."""
        async with self._reading(tenant, name):
            pass

    @asynccontextmanager
    async def _document_slot(self) -> AsyncIterator[None]:
        if self._documents >= DOCUMENTS_AT_ONCE + MOST_WAITING_DOCUMENTS:
            raise ContendedError(f"{self._documents} documents are stored now; try again soon", retry_after_seconds=1.0)
        self._documents += 1
        try:
            async with self._document_slots:
                yield
        finally:
            self._documents -= 1


async def _reports(
    collection: Collection, folder: Path, models: ModelPort, metadata: Mapping[str, str]
) -> AsyncGenerator[tuple[IngestReport, bool], None]:
    latest: IngestReport | None = None
    changed = asyncio.Event()

    def show(report: IngestReport) -> None:
        nonlocal latest
        latest = report
        changed.set()

    work = asyncio.create_task(
        ingest(collection, folder, models, on_progress=show, metadata=metadata), name="ingest-folder"
    )
    work.add_done_callback(lambda _: changed.set())
    try:
        while True:
            await changed.wait()
            changed.clear()
            if work.done():
                yield work.result(), True
                return
            if latest is not None:
                yield latest, False
    finally:
        await end_tasks(work)


def _described(collection: Collection) -> KnowledgeBase:
    documents, passages = collection.counts()
    size = collection.path.stat().st_size
    return KnowledgeBase(
        collection.name,
        documents,
        passages,
        collection.model,
        collection.chunk_tokens,
        size,
        collection.index_status(),
    )
