"""``chunk``: cuts the text of a record into overlapping chunks, one record each."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl
from pydantic import Field, model_validator

from sage_common.errors import UnprocessableError
from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator import Record, StatelessAsyncOperator
from sage_kernel.operator_type import OperatorType
from sage_kernel.run_context import RunContext
from sage_kernel.stream_type import NodeProblems, StreamType, union_of
from sage_libs.chunking import DEFAULT_MAX_CHARACTERS, DEFAULT_OVERLAP_CHARACTERS, chunk_spans

_PLACE: dict[str, pl.DataType] = dict.fromkeys(("start", "end", "line", "end_line", "page"), pl.Int64())


class ChunkNode(NodeSpec):
    """Each chunk keeps its record's fields and gets its place in the whole text.

    That is ``start`` and ``end`` (half-open, in characters), ``line`` and ``end_line`` (from the record's
    ``first_line``, or 1), and ``page`` (from 1; None in a text without form feeds).

    Attributes:
        text: the field that is cut; in the chunks it holds their text.
        max_characters: longest chunk.
        overlap_characters: most characters that a chunk repeats of the one before.
    """

    op: Literal["chunk"]
    text: FieldName = "text"
    max_characters: int = Field(DEFAULT_MAX_CHARACTERS, ge=1)
    overlap_characters: int = Field(DEFAULT_OVERLAP_CHARACTERS, ge=0)

    @model_validator(mode="after")
    def _overlap_is_below_the_size(self) -> ChunkNode:
        if self.overlap_characters >= self.max_characters:
            raise ValueError(f"overlap_characters {self.overlap_characters} is not below {self.max_characters}")
        return self

    def reads(self) -> Iterator[FieldUse]:
        """Yield the text."""
        yield FieldUse("text", self.text)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the record's fields and the place of the chunk."""
        return union_of(inputs).with_fields({self.text: pl.String(), **_PLACE})


class ChunkOperator(StatelessAsyncOperator):
    """Cuts texts."""

    def __init__(self, node_id: str, spec: ChunkNode, context: RunContext, inputs: Sequence[StreamType]) -> None:
        self._spec = spec

    @property
    def batch_records(self) -> int:
        """One document at a time: it may become thousands of chunks."""
        return 1

    async def process(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the chunks of each record, in order. Raises UnprocessableError where the field is not text."""
        chunks: list[Record] = []
        for record in frame.iter_rows(named=True):
            # A whole book takes a second; nothing else on this event loop has to wait for it.
            chunks += await asyncio.to_thread(self._cut, record)
        return pl.DataFrame(chunks, schema={**frame.schema, **_PLACE})

    def _cut(self, record: Record) -> list[Record]:
        spec = self._spec
        text = record.get(spec.text)
        if not isinstance(text, str):
            raise UnprocessableError(f"field {spec.text!r} is {type(text).__name__}, expected text")
        spans = chunk_spans(text, spec.max_characters, spec.overlap_characters)
        first = record.get("first_line") or 1
        lines = _Counter(text, "\n")
        pages = _Counter(text, "\f")
        return [
            {
                **record,
                spec.text: text[start:end],
                "start": start,
                "end": end,
                "line": first + lines.before(start),
                "end_line": first + lines.before(max(start, end - 1)),
                "page": 1 + pages.before(start) if pages.any else None,
            }
            for start, end in spans
        ]


class _Counter:
    """Counts a character up to a place."""

    def __init__(self, text: str, character: str) -> None:
        self._places = [at for at, one in enumerate(text) if one == character]
        self.any = bool(self._places)

    def before(self, place: int) -> int:
        """Return how many come before ``place``."""
        return bisect_left(self._places, place)


CHUNK = OperatorType(ChunkNode, ChunkOperator)
