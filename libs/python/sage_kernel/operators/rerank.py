"""``rerank``: orders the passages of a record by a model's judgement of their relevance, and keeps the best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import polars as pl
from pydantic import Field, field_validator

from sage_common.errors import UnprocessableError
from sage_kernel.durations import Duration
from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator import StatelessAsyncOperator
from sage_kernel.operator_type import OperatorType
from sage_kernel.run_context import RunContext
from sage_kernel.stream_type import NodeProblems, StreamType, union_of
from sage_kernel.template import Template


class RerankNode(NodeSpec):
    """Orders a list of passages, the most relevant first; each gets the model's ``score``.

    Attributes:
        query: template of what the passages are to be relevant to.
        passages: field with the list: records with a ``text``, as ``retrieve`` makes them, or texts.
        k: most passages that are kept; None keeps all.
        into: field that gets the ordered list; None replaces ``passages``.
        model: ranking model; None takes the mesh's default.
        slo: within which time an answer is wanted.
    """

    positional = ("query",)
    calls_model = True

    op: Literal["rerank"]
    query: str = Field(min_length=1)
    passages: FieldName = "context"
    k: int | None = Field(None, ge=1, le=10_000)
    into: FieldName | None = None
    model: str | None = None
    slo: Duration | None = Field(None, gt=0)
    concurrency: int = Field(8, ge=1, le=1024)
    retries: int = Field(2, ge=0, le=20)

    @field_validator("query")
    @classmethod
    def _is_a_template(cls, text: str) -> str:
        Template(text)
        return text

    def reads(self) -> Iterator[FieldUse]:
        """Yield the query's fields and the passages."""
        yield from (FieldUse("query", name) for name in Template(self.query).paths)
        yield FieldUse("passages", self.passages)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the record's fields and the ordered list."""
        stream = union_of(inputs)
        given = stream.fields.get(self.passages)
        if given is not None and not isinstance(given, pl.List):
            problems.add("passages", f"{self.passages!r} is no list but {given}", "name what a retrieve node adds")
            return stream
        return stream.with_fields({self.into or self.passages: pl.List(_ranked_type(given))})


def _ranked_type(given: pl.DataType | None) -> pl.Struct:
    """Return the type of an ordered passage, from that of the list that comes in."""
    inner = given.inner if isinstance(given, pl.List) else None
    fields = {f.name: f.dtype for f in inner.fields} if isinstance(inner, pl.Struct) else {"text": pl.String()}
    return pl.Struct({**fields, "score": pl.Float64()})


class RerankOperator(StatelessAsyncOperator):
    """Asks once a record."""

    def __init__(self, node_id: str, spec: RerankNode, context: RunContext, inputs: Sequence[StreamType]) -> None:
        self._node_id = node_id
        self._spec = spec
        self._context = context
        self._query = Template(spec.query)

    @property
    def batch_records(self) -> int:
        """One: a slow answer holds up no other record."""
        return 1

    async def process(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records with their passages in order."""
        ranked_type = _ranked_type(frame.schema[self._spec.passages])
        ranked = [await self._ranked(record) for record in frame.iter_rows(named=True)]
        into = self._spec.into or self._spec.passages
        return frame.with_columns(pl.Series(into, ranked, dtype=pl.List(ranked_type)))

    async def _ranked(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        spec = self._spec
        given = record[spec.passages] or []
        passages = [one if isinstance(one, Mapping) else {"text": one} for one in given]
        if any(not isinstance(one.get("text"), str) for one in passages):
            raise UnprocessableError(f"a passage of {spec.passages!r} has no text; rerank records with a field 'text'")
        if not passages:
            return []
        target = self._context.targets.target_seconds(self._node_id, spec.slo / 1e6 if spec.slo else None)
        texts = [one["text"] for one in passages]
        ranking = await self._context.models.rank(self._query.render(record), texts, spec.model, target_seconds=target)
        order = sorted(range(len(passages)), key=lambda at: -ranking.scores[at])
        return [{**passages[at], "score": ranking.scores[at]} for at in order[: spec.k]]


RERANK = OperatorType(RerankNode, RerankOperator)
