"""``sink``: where records end: a named collection of the result (``collection:answers``) or ``jsonl:out.jsonl``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field, field_validator

from sage_kernel.connectors.jsonl_sink import JsonLinesSink
from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator import OperatorType, RunContext, Sink, State
from sage_kernel.operators.uri import parse_address
from sage_kernel.stream_type import StreamType, union_of

_SCHEMES = ("collection", "jsonl")


class SinkNode(NodeSpec):
    """Where records end.

    Attributes:
        uri: ``collection:NAME`` or ``jsonl:FILE``.
        fields: keep only these; empty keeps all.
    """

    positional = ("uri",)
    gives_output = False

    op: Literal["sink"]
    uri: str
    fields: tuple[FieldName, ...] = Field((), max_length=1024)

    @field_validator("uri")
    @classmethod
    def _has_a_known_scheme(cls, uri: str) -> str:
        parse_address(uri, _SCHEMES)
        return uri

    @property
    def is_splittable(self) -> bool:
        """Whether several tasks may write: a single file has one writer."""
        return parse_address(self.uri, _SCHEMES).scheme not in ("csv", "jsonl", "parquet")

    def results(self) -> Iterator[FieldUse]:
        """Yield the collection or file."""
        yield FieldUse("uri", self.uri)

    def paths(self) -> Iterator[FieldUse]:
        """Yield the file."""
        scheme, rest = parse_address(self.uri, _SCHEMES)
        if scheme == "jsonl":
            yield FieldUse("uri", rest)

    def reads(self) -> Iterator[FieldUse]:
        """Yield the fields to keep."""
        return (FieldUse("fields", name) for name in self.fields)


class ChosenFields:
    """A sink that is given some fields of each record."""

    def __init__(self, sink: Sink, fields: tuple[str, ...]) -> None:
        self._sink = sink
        self._fields = fields

    async def write(self, frame: pl.DataFrame) -> None:
        """Write the chosen fields."""
        await self._sink.write(frame.select(self._fields))

    async def flush(self) -> State:
        """Make everything durable."""
        return await self._sink.flush()

    async def restore(self, state: State) -> None:
        """Go on from ``state``."""
        await self._sink.restore(state)

    async def publish(self) -> None:
        """Show the whole result."""
        await self._sink.publish()

    async def close(self) -> None:
        """Release what is held."""
        await self._sink.close()


def build(node_id: str, spec: SinkNode, context: RunContext, inputs: Sequence[StreamType]) -> Sink:
    """Make the sink of a node. Raises PermissionDeniedError for a file that the pipeline may not write."""
    scheme, rest = parse_address(spec.uri, _SCHEMES)
    if scheme == "collection":
        sink = context.collections(rest, node_id, union_of(inputs))
    else:
        sink = JsonLinesSink(context.files.check(Path(rest)), context.run_id)
    return ChosenFields(sink, spec.fields) if spec.fields else sink


SINK = OperatorType(SinkNode, build)
