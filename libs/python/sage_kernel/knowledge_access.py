"""What pipelines ask of knowledge bases, which ``kb:NAME`` names: to search them, and to store records in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, NoReturn, Protocol

import polars as pl
from pydantic import StringConstraints

from sage_common.errors import UnimplementedError
from sage_kernel.model_port import ModelPort
from sage_kernel.search_index import SearchIndex

# ``kb:NAME`` in place of the id of an index node.
KNOWLEDGE_PREFIX = "kb:"
KNOWLEDGE_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
KnowledgeName = Annotated[str, StringConstraints(pattern=rf"^{KNOWLEDGE_PREFIX}{KNOWLEDGE_PATTERN}$")]
# Of a hit in a knowledge base.
KNOWLEDGE_HIT: dict[str, pl.DataType] = {
    "path": pl.String(),
    "title": pl.String(),
    "heading": pl.String(),
    "text": pl.String(),
    "start": pl.Int64(),
    "end": pl.Int64(),
    "line": pl.Int64(),
    "end_line": pl.Int64(),
    "page": pl.Int64(),
    "score": pl.Float64(),
}


class TextDocument(NamedTuple):
    """A text to be stored in place of the one at its path; ``metadata`` is kept with it, for filters."""

    path: str
    text: str
    metadata: Mapping[str, Any]


class KnowledgeAccess(Protocol):
    """The knowledge bases that a run may use."""

    async def open(self, name: str) -> SearchIndex:
        """Return the index of a knowledge base; one run asks for each once. Raises NotFoundError: there is none."""
        ...

    async def store(self, name: str, documents: Sequence[TextDocument], models: ModelPort) -> None:
        """Store documents, each whole or not at all; a knowledge base that is not there is made.

        Args:
            models: embeds them, with the knowledge base's own model.

        Raises:
            UnprocessableError, InvalidRequestError: one of the documents cannot be stored, and none is.
            SageError: what has nothing to do with them; a retryable one may pass.
        """
        ...


class NoKnowledge:
    """Of runs that are given none."""

    async def open(self, name: str) -> NoReturn:
        """Refuse."""
        _refuse(name)

    async def store(self, name: str, documents: Sequence[TextDocument], models: ModelPort) -> NoReturn:
        """Refuse."""
        _refuse(name)


def _refuse(name: str) -> NoReturn:
    raise UnimplementedError(
        f"this run has no knowledge bases, so {KNOWLEDGE_PREFIX}{name} cannot be used; run it with the runner 'local' "
        "or 'mesh'"
    )
