"""Knowledge bases as pipelines search them."""

from __future__ import annotations

import asyncio
from typing import Any

import polars as pl

from sage_kernel.search_index import KNOWLEDGE_HIT, Hit
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.library import Library
from sage_middleware.knowledge.retrieval import SearchMode, search


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

    async def open(self, name: str) -> KnowledgeIndex:
        """Return the index of a collection. Raises NotFoundError: there is none."""
        if name not in self._open:
            self._open[name] = asyncio.create_task(asyncio.to_thread(self._opened, name))
        return await asyncio.shield(self._open[name])

    async def close(self) -> None:
        """Close what was opened."""
        for opened in await asyncio.gather(*self._open.values(), return_exceptions=True):
            if isinstance(opened, KnowledgeIndex):
                opened.close()
        self._open.clear()

    def _opened(self, name: str) -> KnowledgeIndex:
        return KnowledgeIndex(self._library.open(name, read_only=True))
