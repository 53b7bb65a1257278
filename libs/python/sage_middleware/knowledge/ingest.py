"""Bringing a collection up to date with a folder: what is new is embedded, what is gone goes, the rest stays."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sage_kernel.folder import FolderListing, list_documents, list_one
from sage_kernel.model_port import ModelPort
from sage_libs.loaders import UnreadableDocumentError
from sage_libs.quantization import Floats
from sage_libs.token_chunking import TokenStarts
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.index_upkeep import kept_index
from sage_middleware.knowledge.ingest_report import IngestReport
from sage_middleware.knowledge.patient_embedding import PatientEmbedding
from sage_middleware.knowledge.preparation import PreparedDocument, name_of, prepare, read_file
from sage_middleware.knowledge.records import StoredDocument, content_hash
from sage_middleware.knowledge.tokenizers import token_starts_of
from sage_middleware.knowledge.writer_lock import WriterLock

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_FILES = 100_000
# Documents are embedded together until they have this many new chunks; a call has a part of them.
_GROUP_TEXTS = 256
_CALL_TEXTS = 64
# Documents that are read ahead while others are embedded.
_READ_AHEAD = 64
# How the reasons of a listing begin that tell of a failure.
_UNREAD = "cannot be read"


OnProgress = Callable[[IngestReport], None]


async def ingest(
    collection: Collection,
    folder: Path,
    models: ModelPort,
    *,
    on_progress: OnProgress | None = None,
    metadata: Mapping[str, Any] | None = None,
    token_starts: TokenStarts | None = None,
) -> IngestReport:
    """Bring ``collection`` up to date with a folder, or with one document.

    A document is stored whole or not at all; after a failure the next ingest goes on where this one ended. A file that
    can no longer be read keeps the text that was read before.

    Args:
        on_progress: called on the event loop after each change of the report; it must not block.
        metadata: kept with each document that is stored, for filters.
        token_starts: the embedding model's tokenizer; None takes the recorded model's, where it is at hand.

    Raises:
        NotFoundError: there is no such folder.
        ConflictError: another process ingests, or the model is not the recorded one.
        SageError: the embedder failed, or the disk is full.
    """
    run = _Run(collection, models, IngestReport(), on_progress, dict(metadata or {}), token_starts)
    with WriterLock(collection.path):
        report = await run.of(folder)
    report.index = await kept_index(collection)
    return report


class _Run:
    def __init__(
        self,
        collection: Collection,
        models: ModelPort,
        report: IngestReport,
        on_progress: OnProgress | None,
        metadata: Mapping[str, Any],
        token_starts: TokenStarts | None,
    ) -> None:
        self._collection = collection
        self._models = models
        self._report = report
        self._on_progress = on_progress
        self._metadata = metadata
        self._token_starts = token_starts
        self._model = collection.model
        self._max_tokens = collection.chunk_tokens
        self._calls = 0
        self._embedding = PatientEmbedding(models)
        self._busy_since = 0.0
        self._known: dict[str, StoredDocument] = {}
        # By content, documents whose file is not where it was.
        self._gone: dict[bytes, list[StoredDocument]] = {}

    async def of(self, folder: Path) -> IngestReport:
        began = time.perf_counter()
        report = self._report
        folder, one_file, listing = await asyncio.to_thread(_listed, folder)
        report.files = len(listing.files)
        for item, reason in listing.skipped:
            (report.left_out if _is_failure(reason) else report.ignored).append((item, reason))
        stored = await asyncio.to_thread(self._collection.documents, str(folder))
        changed = await asyncio.to_thread(self._changed, folder, listing, stored)
        self._progressed()
        await self._take_up(folder, changed)
        if not one_file:
            await asyncio.to_thread(self._remove_gone, listing)
        report.seconds = time.perf_counter() - began
        self._progressed()
        return report

    async def _take_up(self, folder: Path, changed: Sequence[Path]) -> None:
        # A group is stored while the next is embedded.
        storing = asyncio.create_task(asyncio.sleep(0))
        try:
            async with contextlib.aclosing(self._prepared(folder, changed)) as documents:
                async for group in _grouped(documents):
                    vectors = await self._embedded(group)
                    await storing
                    storing = asyncio.create_task(asyncio.to_thread(self._store, group, vectors))
                    self._progressed()
        finally:
            await storing

    def _changed(self, folder: Path, listing: FolderListing, stored: Sequence[StoredDocument]) -> list[Path]:
        known = self._known = {one.file.path: one for one in stored}
        changed = []
        for path in listing.files:
            document = known.get(path.as_posix())
            try:
                status = (folder / path).stat()
            except OSError:
                changed.append(path)
                continue
            if document is not None and (document.file.size, document.file.mtime_ns) == (
                status.st_size,
                status.st_mtime_ns,
            ):
                self._report.unchanged += 1
            else:
                changed.append(path)
        there = {path.as_posix() for path in listing.files}
        for one in stored:
            if one.file.path not in there:
                self._gone.setdefault(one.file.sha256, []).append(one)
        return changed

    async def _prepared(self, folder: Path, changed: Sequence[Path]) -> AsyncGenerator[PreparedDocument, None]:
        """Read ahead in a thread, so that the embedder need not wait for files."""
        queue: asyncio.Queue[PreparedDocument | None] = asyncio.Queue(_READ_AHEAD)

        async def read_all() -> None:
            for path in changed:
                document = await asyncio.to_thread(self._read, folder, path)
                if document is not None:
                    await queue.put(document)
            await queue.put(None)

        if not changed:
            return
        if self._token_starts is None:
            await self._find_tokenizer()
        reading = asyncio.create_task(read_all())
        try:
            while True:
                taking = asyncio.create_task(queue.get())
                await asyncio.wait({taking, reading}, return_when=asyncio.FIRST_COMPLETED)
                if not taking.done():
                    reading.result()
                document = await taking
                if document is None:
                    return
                yield document
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def _find_tokenizer(self) -> None:
        if self._model is None:
            # Which model answers by default is known only from its answer.
            self._model = (await self._models.embed(["which model is this"], self._collection.requested_model)).model
        self._token_starts, _ = await asyncio.to_thread(token_starts_of, self._model)

    def _read(self, folder: Path, path: Path) -> PreparedDocument | None:
        known = self._known.get(path.as_posix())
        try:
            file = read_file(folder, path)
            if known is not None and known.file.sha256 == file.state.sha256:
                self._collection.refile(known.id, file.state)
                self._report.unchanged += 1
                return None
            moved = self._gone.get(file.state.sha256, []) if known is None else []
            if moved and _reads_alike(moved[-1], path):
                self._collection.refile(moved.pop().id, file.state)
                self._report.moved += 1
                return None
            assert self._token_starts is not None
            return prepare(file, self._max_tokens, self._token_starts)
        except UnreadableDocumentError as error:
            stays = "; what was read of it before stays" if known is not None else ""
            self._report.left_out.append((path.as_posix(), f"{error.message}{stays}"))
            return None

    async def _embedded(self, group: Sequence[PreparedDocument]) -> list[Floats]:
        texts = {content_hash(chunk.embedded_text): chunk.embedded_text for one in group for chunk in one.chunks}
        known = await asyncio.to_thread(self._collection.known_vectors, list(texts))
        missing = [key for key in texts if key not in known]
        calls = [missing[at : at + _CALL_TEXTS] for at in range(0, len(missing), _CALL_TEXTS)]
        tasks = [asyncio.create_task(self._call([texts[key] for key in keys])) for keys in calls]
        try:
            answers = await asyncio.gather(*tasks)
        finally:
            # Where one failed, the others are for nobody.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for keys, vectors in zip(calls, answers, strict=True):
            known.update(zip(keys, vectors, strict=True))
        self._report.embedded += len(missing)
        return [np.stack([known[content_hash(chunk.embedded_text)] for chunk in one.chunks]) for one in group]

    async def _call(self, texts: Sequence[str]) -> Floats:
        if self._calls == 0:
            self._busy_since = time.perf_counter()
        self._calls += 1
        try:
            answer = await self._embedding.embed(texts, self._model or self._collection.requested_model)
        finally:
            self._calls -= 1
            if self._calls == 0:
                self._report.embed_seconds += time.perf_counter() - self._busy_since
        self._collection.check_model(answer.model, answer.vectors.shape[1])
        self._model = answer.model
        return answer.vectors

    def _store(self, group: Sequence[PreparedDocument], vectors: Sequence[Floats]) -> None:
        assert self._model is not None
        for document, rows in zip(group, vectors, strict=True):
            self._collection.put(document.file, document.title, document.chunks, rows, self._model, self._metadata)
            self._report.stored += 1
            self._report.chunks += len(document.chunks)

    def _remove_gone(self, listing: FolderListing) -> None:
        # A folder or file that cannot be read now is not gone.
        unread = tuple(item for item, reason in listing.skipped if reason.startswith(_UNREAD))
        left = (one for same in self._gone.values() for one in same)
        gone = [one.id for one in left if not one.file.path.startswith(unread)]
        if gone:
            self._collection.remove(gone)
        self._report.removed = len(gone)

    def _progressed(self) -> None:
        if self._on_progress is not None:
            self._on_progress(replace(self._report, left_out=[*self._report.left_out], ignored=[*self._report.ignored]))


def _is_failure(reason: str) -> bool:
    return reason.startswith(_UNREAD) or "over the limit" in reason


def _listed(given: Path) -> tuple[Path, bool, FolderListing]:
    """Return the folder, whether one document of it was named, and what is in it."""
    path = given.resolve()
    if path.is_file():
        return path.parent, True, list_one(path, max_file_bytes=MAX_FILE_BYTES)
    return path, False, list_documents(path, max_file_bytes=MAX_FILE_BYTES, max_files=MAX_FILES)


async def _grouped(documents: AsyncIterator[PreparedDocument]) -> AsyncIterator[list[PreparedDocument]]:
    group: list[PreparedDocument] = []
    chunks = 0
    async for document in documents:
        group.append(document)
        chunks += len(document.chunks)
        if chunks >= _GROUP_TEXTS:
            yield group
            group, chunks = [], 0
    if group:
        yield group


def _reads_alike(document: StoredDocument, path: Path) -> bool:
    """Whether a document would be stored alike from a file with the same bytes at ``path``."""
    before = Path(document.file.path)
    # A document without a title is called by its file's name, which is embedded with its chunks.
    return before.suffix == path.suffix and (bool(document.title) or name_of(before) == name_of(path))
