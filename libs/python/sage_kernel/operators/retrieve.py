"""``retrieve``: finds the records of an index that are nearest to each record's vector."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl
from pydantic import Field

from sage_common.errors import UnprocessableError
from sage_kernel.knowledge_access import KNOWLEDGE_HIT, KNOWLEDGE_PREFIX, KnowledgeName
from sage_kernel.nodes import FieldName, FieldUse, NodeId, NodeSpec
from sage_kernel.operator import Record, StatelessAsyncOperator
from sage_kernel.operator_type import OperatorType
from sage_kernel.run_context import RunContext
from sage_kernel.search_index import SearchIndex
from sage_kernel.stream_type import NodeProblems, StreamType, union_of


class RetrieveNode(NodeSpec):
    """Adds a list of hits, best first: the fields of each record found, and its ``score`` (cosine similarity).

    Attributes:
        index: id of an index node, until whose end retrieval waits; or ``kb:NAME``, a knowledge base.
        by: field with the query's vector.
        words: field with the question's words; a knowledge base is then searched by them too.
        k: most hits.
        into: field that gets the hits.
        min_score: leave out hits below this similarity.
    """

    positional = ("index",)

    op: Literal["retrieve"]
    index: NodeId | KnowledgeName
    by: FieldName = "vector"
    words: FieldName | None = None
    k: int = Field(4, ge=1, le=10_000)
    into: FieldName = "context"
    min_score: float = Field(-1.0, ge=-1.0, le=1.0)

    def needs(self) -> Iterator[FieldUse]:
        """Yield the index."""
        if self.knowledge is None:
            yield FieldUse("index", self.index)

    @property
    def knowledge(self) -> str | None:
        """The name of the knowledge base; None for an index node."""
        return self.index.removeprefix(KNOWLEDGE_PREFIX) if self.index.startswith(KNOWLEDGE_PREFIX) else None

    def reads(self) -> Iterator[FieldUse]:
        """Yield the query's vector and words."""
        yield FieldUse("by", self.by)
        if self.words is not None:
            yield FieldUse("words", self.words)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the record's fields and the hits, whose fields are those of the index."""
        hit = problems.needed.get(self.index)
        fields = hit.fields if hit is not None else {"score": pl.Float64()}
        if self.knowledge is not None:
            fields = KNOWLEDGE_HIT
        return union_of(inputs).with_fields({self.into: pl.List(pl.Struct(fields))})


class RetrieveOperator(StatelessAsyncOperator):
    """Searches an index."""

    def __init__(self, node_id: str, spec: RetrieveNode, context: RunContext, inputs: Sequence[StreamType]) -> None:
        self._spec = spec
        self._context = context

    async def process(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records with their hits. Raises UnprocessableError for a vector of the wrong shape."""
        index = await self._index()
        records = frame.iter_rows(named=True)
        if self._spec.knowledge is None:
            hits = [self._hits(index, record) for record in records]
        else:
            # It reads a file.
            hits = await asyncio.to_thread(lambda: [self._hits(index, record) for record in records])
        return frame.with_columns(pl.Series(self._spec.into, hits, dtype=pl.List(index.hit_type)))

    async def _index(self) -> SearchIndex:
        if self._spec.knowledge is not None:
            return await self._context.knowledge.open(self._spec.knowledge)
        # Shielded: the end of one waiting call must not take the index from the others.
        return await asyncio.shield(self._context.indexes[self._spec.index])

    def _hits(self, index: SearchIndex, record: Record) -> list[Record]:
        spec = self._spec
        try:
            words = str(record[spec.words] or "") if spec.words is not None else ""
            hits = index.search(record[spec.by], spec.k, words)
        except (ValueError, TypeError, KeyError) as error:
            raise UnprocessableError(
                f"field {spec.by!r} cannot be searched in index {spec.index!r}: {error}; embed both with the same model"
            ) from error
        return [{**hit.record, "score": hit.score} for hit in hits if hit.score >= spec.min_score]


RETRIEVE = OperatorType(RetrieveNode, RetrieveOperator)
