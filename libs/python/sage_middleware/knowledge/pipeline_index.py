"""Knowledge bases as pipelines search them and store in them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from sage_common.errors import ConflictError, NotFoundError, UnprocessableError
from sage_kernel.knowledge_access import KNOWLEDGE_HIT, TextDocument
from sage_kernel.model_port import ModelPort
from sage_kernel.search_index import Hit
from sage_libs.loaders import UnreadableDocumentError
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.given_documents import DocumentWriter, GivenDocument
from sage_middleware.knowledge.library import Library
from sage_middleware.knowledge.retrieval import SearchMode, search

# A record holds text; only these forms of it have headings that can be told.
_TEXT_SUFFIXES = (".md", ".markdown", ".rst")


class KnowledgeIndex:
    """A collection behind ``retrieve``."""

    hit_type = pl.Struct(KNOWLEDGE_HIT)

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def close(self) -> None:
        """Close the collection."""
        self._collection.close()

    def search(self, vector: Any, k: int, words: str = "") -> list[Hit]:
        """Return the ``k`` best passages by vector, and by words where they are given; ``score`` is the similarity."""
        mode = SearchMode.HYBRID if words else SearchMode.VECTORS
        found = search(self._collection, words, vector, k, mode=mode)
        fields = [name for name in KNOWLEDGE_HIT if name != "score"]
        # A passage that only its words have found is less similar than all those that its vector has.
        return [Hit({name: getattr(one, name) for name in fields}, one.score or 0.0) for one in found]


class LibraryAccess:
    """Opens the collections of a library when a pipeline first asks for them."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._open: dict[str, asyncio.Task[KnowledgeIndex]] = {}
        self._written: dict[str, tuple[Collection, DocumentWriter]] = {}
        self._storing = asyncio.Lock()

    async def open(self, name: str) -> KnowledgeIndex:
        """Return the index of a collection. Raises NotFoundError: there is none."""
        if name not in self._open:
            self._open[name] = asyncio.create_task(asyncio.to_thread(self._opened, name))
        return await asyncio.shield(self._open[name])

    async def store(self, name: str, documents: Sequence[TextDocument], models: ModelPort) -> None:
        """Store documents; a collection that is not there is made. Raises as ``DocumentWriter.store``."""
        given = [
            GivenDocument(one.path, one.text.encode("utf-8", "replace"), one.metadata, _suffix(one.path))
            for one in documents
        ]
        async with self._storing:
            try:
                await self._stored(name, given, models)
            except NotFoundError:
                # Dropped meanwhile: it is made again.
                collection, _ = self._written.pop(name)
                await asyncio.to_thread(collection.close)
                await self._stored(name, given, models)

    async def close(self) -> None:
        """Close what was opened."""
        for opened in await asyncio.gather(*self._open.values(), return_exceptions=True):
            if isinstance(opened, KnowledgeIndex):
                opened.close()
        self._open.clear()
        for collection, _ in self._written.values():
            collection.close()
        self._written.clear()

    async def _stored(self, name: str, given: Sequence[GivenDocument], models: ModelPort) -> None:
        writer = await self._writer(name, models)
        try:
            await writer.store(given)
        except UnreadableDocumentError as error:
            raise UnprocessableError(f"the record cannot be stored in kb:{name}: {error.message}") from error

    async def _writer(self, name: str, models: ModelPort) -> DocumentWriter:
        if name not in self._written:
            collection = await asyncio.to_thread(self._opened_or_made, name)
            self._written[name] = (collection, DocumentWriter(collection, models))
        return self._written[name][1]

    def _opened(self, name: str) -> KnowledgeIndex:
        return KnowledgeIndex(self._library.open(name, read_only=True))

    def _opened_or_made(self, name: str) -> Collection:
        if not self._library.path(name).exists():
            try:
                return self._library.create(name)
            except ConflictError as error:
                # Another run makes it now, or has just done so.
                if error.retryable:
                    raise
        return self._library.open(name)


def _suffix(path: str) -> str:
    suffix = PurePosixPath(path).suffix.lower()
    return suffix if suffix in _TEXT_SUFFIXES else ".txt"
