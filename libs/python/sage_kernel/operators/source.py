"""``source``: records given in the pipeline itself, or the documents of a folder (``folder:docs``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field, JsonValue, field_validator, model_validator

from sage_kernel.connectors.folder_source import DOCUMENT_FIELDS, FolderSource
from sage_kernel.connectors.records import RecordsSource, frame_of
from sage_kernel.durations import Duration
from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator import OperatorType, Record, RunContext, Source
from sage_kernel.operators.uri import parse_address
from sage_kernel.schema import TIMESTAMP, WrittenSchema, parse_schema, write_type
from sage_kernel.stream_type import NodeProblems, StreamType


class SourceNode(NodeSpec):
    """Where records come from: ``records`` or ``uri``, exactly one of them.

    A folder, or one document (``folder:docs/guide.md``), gives one record a document, in the order of their paths:
    ``id`` and ``path`` (relative to the folder), ``text``, ``title``, ``bytes``, and
    ``first_line`` where the text does not begin with the file.
    """

    positional = ("uri",)
    takes_input = False

    op: Literal["source"]
    uri: str | None = None
    records: tuple[dict[FieldName, JsonValue], ...] | None = None
    max_file_bytes: int = Field(8 * 1024 * 1024, ge=1)
    max_files: int = Field(10_000, ge=1)
    schema_: WrittenSchema | None = Field(None, alias="schema")
    event_time: FieldName | None = None
    lateness: Duration = Field(0, ge=0)
    idle_after: Duration | None = Field(None, gt=0)
    max_ahead: Duration = Field(86_400_000_000, ge=0)

    @field_validator("uri")
    @classmethod
    def _has_a_known_scheme(cls, uri: str | None) -> str | None:
        if uri is not None:
            parse_address(uri, ("folder",))
        return uri

    @field_validator("records")
    @classmethod
    def _is_json(cls, records: tuple[Record, ...] | None) -> tuple[Record, ...] | None:
        try:
            json.dumps(records, allow_nan=False)
        except ValueError:
            raise ValueError("a record holds NaN or infinity, which JSON has no form for") from None
        return records

    @model_validator(mode="after")
    def _has_one_origin(self) -> SourceNode:
        if (self.uri is None) == (self.records is None):
            raise ValueError("a source has either 'uri' or 'records'")
        return self

    def paths(self) -> Iterator[FieldUse]:
        """Yield the folder."""
        if self.uri is not None:
            yield FieldUse("uri", parse_address(self.uri, ("folder",)).rest)

    def frame(self) -> pl.DataFrame:
        """Return the records of the pipeline. Raises ValueError where they have no common type."""
        return frame_of(self.records or (), parse_schema(self.schema_) if self.schema_ else None)

    def timing(self) -> tuple[int, int | None, int]:
        """Return lateness, silence until idle and the furthest future, in microseconds."""
        return self.lateness, self.idle_after, self.max_ahead

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the fields that every record has."""
        fields: Mapping[str, pl.DataType] = DOCUMENT_FIELDS
        if self.records is not None:
            try:
                fields = self.frame().schema
            except ValueError as error:
                problems.add("records", str(error), "give each field values of one type, or state a 'schema'")
                return StreamType(is_open=True)
        if self.event_time is not None and fields.get(self.event_time) != TIMESTAMP:
            message = f"{self.event_time!r} is {write_type(fields.get(self.event_time, pl.Null()))!r}, not a timestamp"
            problems.add("event_time", message, f"state it in 'schema', as {{{self.event_time}: timestamp}}")
            return StreamType(fields)
        return StreamType(fields, event_time=self.event_time)


def build(
    node_id: str, spec: SourceNode, context: RunContext, inputs: Sequence[StreamType]
) -> Source:
    """Make the source of a node. Raises PermissionDeniedError for a folder that the pipeline may not read."""
    if spec.records is not None:
        return RecordsSource(spec.frame())
    assert spec.uri is not None  # one of the two is set, see SourceNode
    folder = context.files.check(Path(parse_address(spec.uri, ("folder",)).rest))
    return FolderSource(
        node_id, folder, context, max_file_bytes=spec.max_file_bytes, max_files=spec.max_files
    )


SOURCE = OperatorType(SourceNode, build)
