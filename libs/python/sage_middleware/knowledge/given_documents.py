"""Documents that are given one by one, by a program or a pipeline, and belong to no folder."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from sage_common.errors import ConflictError, InvalidRequestError, NotFoundError
from sage_kernel.model_port import ModelPort
from sage_libs.loaders import LoadedText
from sage_libs.quantization import Floats
from sage_libs.token_chunking import TokenStarts
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.patient_embedding import PatientEmbedding
from sage_middleware.knowledge.preparation import PreparedDocument, ReadFile, prepare
from sage_middleware.knowledge.records import FileState, content_hash
from sage_middleware.knowledge.tokenizers import token_starts_of
from sage_middleware.knowledge.writer_lock import INGEST_RUNNING, WriterLock

# The folder of all of them.
NO_FOLDER = ""
MOST_PATH_CHARACTERS = 1024
# Another given document is stored in milliseconds; an ingest of a folder takes longer, and is then named.
LOCK_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 0.05
_CALL_TEXTS = 64


@dataclass(frozen=True, slots=True)
class GivenDocument:
    """A document to be stored in place of the one that was given under the same path.

    Attributes:
        path: what it is known by.
        data: as its file would be.
        metadata: kept with it, for filters.
        suffix: of its format; None goes by the path.
        loaded: its text, where that has been read already.
    """

    path: str
    data: bytes
    metadata: Mapping[str, Any] = field(default_factory=dict)
    suffix: str | None = None
    loaded: LoadedText | None = None


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What became of documents that were given.

    Attributes:
        stored: new or changed documents.
        unchanged: documents that were there already, metadata included.
        chunks: chunks of the documents that were stored.
        embedded: those of them that no vector was there for.
    """

    stored: int
    unchanged: int
    chunks: int
    embedded: int


class DocumentWriter:
    """Stores given documents in one collection, each whole or not at all."""

    def __init__(self, collection: Collection, models: ModelPort, token_starts: TokenStarts | None = None) -> None:
        self._collection = collection
        self._models = models
        self._embedding = PatientEmbedding(models)
        self._model = collection.model
        self._token_starts = token_starts
        self._inode = collection.path.stat().st_ino

    async def store(self, documents: Sequence[GivenDocument]) -> StoreReport:
        """Store documents. Of two with one path the later counts.

        Raises:
            InvalidRequestError: a path that cannot be one.
            UnreadableDocumentError: one of them holds no text that can be read; none is stored then.
            ConflictError: a folder is being ingested, or the embedding model is not the recorded one.
            SageError: the embedder failed, or the disk is full.
        """
        by_path = {checked_path(one.path): one for one in documents}
        there = await asyncio.to_thread(self._there, list(by_path))
        changed = {path: one for path, one in by_path.items() if there.get(path) != (_digest(one), dict(one.metadata))}
        if not changed:
            return StoreReport(0, len(by_path), 0, 0)
        token_starts = await self._tokenizer()
        prepared = await asyncio.to_thread(
            lambda: [_prepared(one, self._collection.chunk_tokens, token_starts) for one in changed.values()]
        )
        vectors, embedded = await self._vectors(prepared)
        async with _writing(self._collection, self._inode):
            await asyncio.to_thread(self._put, prepared, vectors, list(changed.values()))
        chunks = sum(len(one.chunks) for one in prepared)
        return StoreReport(len(changed), len(by_path) - len(changed), chunks, embedded)

    def _there(self, paths: Sequence[str]) -> dict[str, tuple[bytes, dict[str, Any]]]:
        found = {}
        for start in range(0, len(paths), 500):
            part = paths[start : start + 500]
            for path, digest, metadata in self._collection.select(
                "SELECT path, sha256, metadata FROM documents "
                f"WHERE folder = ? AND path IN ({','.join('?' * len(part))})",
                (NO_FOLDER, *part),
            ):
                found[path] = (digest, orjson.loads(metadata))
        return found

    async def _tokenizer(self) -> TokenStarts:
        if self._model is None:
            # Which model answers by default is known only from its answer.
            asked = self._collection.requested_model
            self._model = (await self._embedding.embed(["which model is this"], asked)).model
        if self._token_starts is None:
            found, _ = await asyncio.to_thread(token_starts_of, self._model)
            self._token_starts = found
            return found
        return self._token_starts

    async def _vectors(self, prepared: Sequence[PreparedDocument]) -> tuple[list[Floats], int]:
        """Return the vectors of each document's chunks, and for how many none was there."""
        texts = {content_hash(chunk.embedded_text): chunk.embedded_text for one in prepared for chunk in one.chunks}
        known = await asyncio.to_thread(self._collection.known_vectors, list(texts))
        missing = [key for key in texts if key not in known]
        for at in range(0, len(missing), _CALL_TEXTS):
            keys = missing[at : at + _CALL_TEXTS]
            answer = await self._embedding.embed([texts[key] for key in keys], self._model)
            self._collection.check_model(answer.model, answer.vectors.shape[1])
            self._model = answer.model
            known.update(zip(keys, answer.vectors, strict=True))
        rows = [np.stack([known[content_hash(chunk.embedded_text)] for chunk in one.chunks]) for one in prepared]
        return rows, len(missing)

    def _put(
        self, prepared: Sequence[PreparedDocument], vectors: Sequence[Floats], given: Sequence[GivenDocument]
    ) -> None:
        assert self._model is not None
        for document, rows, one in zip(prepared, vectors, given, strict=True):
            self._collection.put(document.file, document.title, document.chunks, rows, self._model, one.metadata)


async def remove_given(collection: Collection, path: str) -> bool:
    """Remove a document that was given; return whether it was there. Raises ConflictError: a folder is ingested."""
    async with _writing(collection, collection.path.stat().st_ino):
        rows = collection.select("SELECT id FROM documents WHERE folder = ? AND path = ?", (NO_FOLDER, path))
        if rows:
            await asyncio.to_thread(collection.remove, [row[0] for row in rows])
    return bool(rows)


def checked_path(path: str) -> str:
    """Return ``path``. Raises InvalidRequestError where it cannot name a document."""
    parts = path.split("/")
    if not path or len(path) > MOST_PATH_CHARACTERS or any(part in ("", ".", "..") for part in parts):
        raise InvalidRequestError(
            f"{path[:80]!r} cannot name a document; write it like a file's path, as guide/setup.md, with at most "
            f"{MOST_PATH_CHARACTERS} characters",
            param="path",
        )
    if any(character < " " or "\ud800" <= character <= "\udfff" for character in path):
        raise InvalidRequestError(
            f"{path[:80]!r} cannot name a document: it holds a control character or half a surrogate pair", param="path"
        )
    return path


def _prepared(document: GivenDocument, max_tokens: int, token_starts: TokenStarts) -> PreparedDocument:
    state = FileState(NO_FOLDER, document.path, len(document.data), time.time_ns(), _digest(document))
    read = ReadFile(state, document.data)
    return prepare(read, max_tokens, token_starts, suffix=document.suffix, loaded=document.loaded)


def _digest(document: GivenDocument) -> bytes:
    return hashlib.sha256(document.data).digest()


@asynccontextmanager
async def _writing(collection: Collection, inode: int) -> AsyncIterator[None]:
    """Hold the writer's lock, so that the collection is not dropped meanwhile; wait for others a little.

    Raises:
        ConflictError: another still holds it.
        NotFoundError: the file that was opened, which had this inode, has been dropped.
    """
    lock = WriterLock(collection.path)
    for left in range(int(LOCK_SECONDS / _LOOK_AGAIN_SECONDS), -1, -1):
        try:
            lock.__enter__()
            break
        except ConflictError as error:
            if error.code != INGEST_RUNNING or not left:
                raise
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    try:
        try:
            is_there = collection.path.stat().st_ino == inode
        except FileNotFoundError:
            is_there = False
        if not is_there:
            raise NotFoundError(f"the knowledge base {collection.name!r} was dropped meanwhile; nothing was stored")
        yield
    finally:
        lock.__exit__()
