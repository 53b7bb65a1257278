"""What ``retrieve`` asks of an index, whoever made it: an ``index`` node of the pipeline, or a knowledge base."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, NoReturn, Protocol

import polars as pl
from pydantic import StringConstraints

from sage_common.errors import UnimplementedError

# ``kb:NAME`` in place of the id of an index node.
KNOWLEDGE_PREFIX = "kb:"
KnowledgeName = Annotated[str, StringConstraints(pattern=r"^kb:[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
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


class Hit(NamedTuple):
    """A record found, without its vector, and its score: greater is nearer."""

    record: dict[str, Any]
    score: float


class SearchIndex(Protocol):
    """Records that can be searched by vector."""

    @property
    def hit_type(self) -> pl.Struct:
        """The type of a hit: the fields of a record and ``score``."""
        ...

    def search(self, vector: Any, k: int, words: str = "") -> list[Hit]:
        """Return the ``k`` best records, best first.

        Args:
            words: what is asked, for an index that compares words too.

        Raises:
            ValueError: a vector that does not fit.
        """
        ...


class KnowledgeAccess(Protocol):
    """The knowledge bases that a run may search."""

    async def open(self, name: str) -> SearchIndex:
        """Return the index of a knowledge base; one run asks for each once. Raises NotFoundError: there is none."""
        ...


class NoKnowledge:
    """Of runs that are given none."""

    async def open(self, name: str) -> NoReturn:
        """Refuse."""
        raise UnimplementedError(
            f"this run has no knowledge bases, so {KNOWLEDGE_PREFIX}{name} cannot be searched; "
            "run it with the local runner"
        )
