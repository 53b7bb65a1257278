"""What can be done with the knowledge bases of a mesh, whichever way they are reached."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from sage_client.knowledge.knowledge_limits import DEFAULT_PASSAGES
from sage_client.knowledge.knowledge_views import (
    DocumentPage,
    DocumentStored,
    IngestView,
    KnowledgeBaseView,
    PassageView,
)


class KnowledgeBases(Protocol):
    """The verbs of knowledge bases, on those of one tenant.

    Each raises NotFoundError for a name that the tenant has none of, and UnavailableError where no dataflow worker
    answers, or none that has the folder of the mesh's knowledge bases.
    """

    async def list_bases(self) -> list[KnowledgeBaseView]:
        """Return the knowledge bases, by name."""

    async def create(self, name: str, *, embedding_model: str = "", chunk_tokens: int = 0) -> KnowledgeBaseView:
        """Make an empty one.

        Args:
            embedding_model: to ask for; empty takes the mesh's default. The one that answers is recorded.
            chunk_tokens: most tokens of a passage, headings included; 0 takes 120.

        Raises:
            ConflictError: there is one of that name.
            InvalidRequestError: it cannot be a name.
        """

    async def get(self, name: str) -> KnowledgeBaseView:
        """Return one."""

    async def drop(self, name: str) -> KnowledgeBaseView:
        """Remove one, and return it as it was. Raises ConflictError: it is being ingested into."""

    async def documents(self, name: str, *, limit: int = 0, after: int = 0) -> DocumentPage:
        """Return at most ``limit`` (0: 1000) documents, those behind the id ``after``."""

    async def store(
        self, name: str, path: str, data: bytes, metadata: Mapping[str, str] | None = None
    ) -> DocumentStored:
        """Store a document, in place of the one at its path.

        Args:
            path: what it is known by; its suffix says its format.
            data: its file's content, at most 32 MiB.
            metadata: kept with it, for filters.

        Raises:
            UnprocessableError: it holds no text that can be read, or the disk is full.
            TooLargeError: it has more bytes.
            ConflictError: a folder is being ingested, or the embedding model is not the recorded one.
        """

    async def remove(self, name: str, path: str) -> None:
        """Remove a document that was stored by itself."""

    def ingest(self, name: str, folder: str, metadata: Mapping[str, str] | None = None) -> AsyncIterator[IngestView]:
        """Bring one up to date with a folder of the worker, and yield how far it has come, the last time when it is
        done. To close the iterator ends it; what was stored stays, and the next ingest goes on from there.

        Raises:
            PermissionDeniedError: the folder is outside the worker's allowed roots.
            ConflictError: another ingest runs, or the embedding model is not the recorded one.
        """

    async def search(
        self,
        name: str,
        question: str,
        *,
        k: int = DEFAULT_PASSAGES,
        mode: str = "hybrid",
        filters: Mapping[str, str] | None = None,
        rerank: bool = False,
    ) -> list[PassageView]:
        """Return the ``k`` passages that answer a question best, best first.

        Args:
            mode: hybrid, vectors or words.
            filters: what the document must have: ``path`` and ``folder`` are patterns with ``*``, ``title`` and
                anything else of its metadata are compared as they are.
            rerank: whether a model reads the first passages with the question and orders them.

        Raises:
            InvalidRequestError: no question, an overlong one, or another mode.
            ConflictError: the embedding model that answers is not the recorded one.
        """

    def export(self, name: str, *, vectors: bool = False) -> AsyncIterator[bytes]:
        """Yield every passage as JSON, whole lines at a time."""

    async def close(self) -> None:
        """Release the connections."""
