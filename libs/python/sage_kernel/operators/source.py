"""``source``: records given in the pipeline itself, of files (``jsonl:``, ``csv:``, ``parquet:``), or the documents of
a folder (``folder:docs``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import Field, JsonValue, StringConstraints, field_validator, model_validator

from sage_kernel.connectors.conform import Conformer
from sage_kernel.connectors.file_listing import plain_part
from sage_kernel.connectors.folder_source import DOCUMENT_FIELDS, FolderSource
from sage_kernel.connectors.parquet_source import ParquetSource
from sage_kernel.connectors.patience import DEFAULT_PATIENCE_US, Patience
from sage_kernel.connectors.records import RecordsSource, frame_of
from sage_kernel.connectors.source_options import DEFAULT_RECORD_BYTES, SourceOptions
from sage_kernel.connectors.subject_partitions import PLACE, SubjectPartitions
from sage_kernel.connectors.text_file_source import TextFileSource
from sage_kernel.connectors.text_formats import Csv, JsonLines
from sage_kernel.durations import Duration
from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator import REFUSED_FIELDS, Record, Source
from sage_kernel.operator_type import OperatorType
from sage_kernel.operators.uri import check_subject, parse_address
from sage_kernel.run_context import RunContext
from sage_kernel.schema import TIMESTAMP, WrittenSchema, parse_schema, write_type
from sage_kernel.stream_type import NodeProblems, StreamType

_SCHEMES = ("folder", "jsonl", "csv", "parquet", "nats", "http", "https")
_PATH = r"^[^.\s]{1,64}(\.[^.\s]{1,64}){0,15}$"
_FILES = ("folder", "jsonl", "csv", "parquet")


class SourceNode(NodeSpec):
    """Where records come from: ``records`` or ``uri``, exactly one of them.

    A folder, or one document (``folder:docs/guide.md``), gives one record a document, in the order of their paths:
    ``id`` and ``path`` (relative to the folder), ``text``, ``title``, ``bytes``, and
    ``first_line`` where the text does not begin with the file.

    Attributes:
        uri: ``folder:DOCS``; ``jsonl:``, ``csv:`` or ``parquet:`` with a path or a pattern such as ``logs/*.jsonl``; or
            ``nats://SUBJECT``, stored by a stream of JetStream: an object or an array of JSON, or Arrow batches, each;
            or ``http://`` or ``https://``: pages of JSON, JSON Lines or CSV.
        records: the records themselves.
        max_file_bytes: a larger document is left out, and a larger page of HTTP an error.
        max_files: a folder or pattern with more of them is an error.
        schema_: fields and types that the records are cast to; without it, those of the first records of a file.
        extra: what becomes of a field that the schema lacks: ``drop`` it, or ``fail`` the record.
        epoch: the unit of timestamps that are numbers, counted from 1970-01-01 UTC.
        delimiter: between two values of CSV.
        max_record_bytes: a longer record is refused.
        stream: of JetStream, where several store the subject.
        start: where a run without a checkpoint begins to read a stream: with its ``first`` message, or a ``new`` one.
        format: of a page of HTTP; without it by its Content-Type.
        items: path to the list of records in a page of JSON, as ``data.items``.
        next: path to the next page's address in a page of JSON; a header ``Link`` with ``rel="next"`` counts too.
        bounded: end with the last message that a stream has at the start.
        partitions: into how many the server's subject mapping parts the messages; the subject then has ``{partition}``
            in place of the number that ``partition(n, …)`` writes, as ``nats://tickets.{partition}.>``.
        partition_by: the fields whose values were hashed for that: what is grouped by them needs no other task.
        patience: how long to wait for a server that is gone.
        event_time: the field that says when a record happened.
        lateness: how far records may come out of order.
        idle_after: silence after which this source holds no other back.
        max_ahead: how far in the future an event may lie.
    """

    positional = ("uri",)
    takes_input = False

    op: Literal["source"]
    uri: str | None = None
    records: tuple[dict[FieldName, JsonValue], ...] | None = None
    max_file_bytes: int = Field(8 * 1024 * 1024, ge=1)
    max_files: int = Field(10_000, ge=1)
    schema_: WrittenSchema | None = Field(None, alias="schema")
    extra: Literal["drop", "fail"] = "drop"
    epoch: Literal["s", "ms", "us", "ns"] | None = None
    delimiter: Annotated[str, StringConstraints(pattern=r"^[,;|\t:]$")] = ","
    max_record_bytes: int = Field(DEFAULT_RECORD_BYTES, ge=1, le=64 * 1024 * 1024)
    stream: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,255}$")] | None = None
    start: Literal["first", "new"] = "first"
    bounded: bool = False
    format: Literal["json", "jsonl", "csv"] | None = None
    items: Annotated[str, StringConstraints(pattern=_PATH)] | None = None
    next: Annotated[str, StringConstraints(pattern=_PATH)] | None = None
    partitions: int | None = Field(None, ge=1, le=256)
    partition_by: tuple[FieldName, ...] = Field((), max_length=16)
    patience: Duration = Field(DEFAULT_PATIENCE_US, ge=0)
    event_time: FieldName | None = None
    lateness: Duration = Field(0, ge=0)
    idle_after: Duration | None = Field(None, gt=0)
    max_ahead: Duration = Field(86_400_000_000, ge=0)

    @field_validator("uri")
    @classmethod
    def _has_a_known_scheme(cls, uri: str | None) -> str | None:
        if uri is not None:
            scheme, rest = parse_address(uri, _SCHEMES)
            if scheme == "nats":
                check_subject(rest)
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

    @model_validator(mode="after")
    def _has_a_place_for_its_partitions(self) -> SourceNode:
        subject = (self.uri or "") if (self.uri or "").startswith("nats:") else ""
        places = subject.split(".").count(PLACE)
        if subject.count("{") != places or places != (0 if self.partitions is None else 1):
            raise ValueError(
                "'partitions' and one '{partition}' in the subject of NATS belong together, as "
                "'uri: nats://tickets.{partition}.>' with 'partitions: 4'"
            )
        if self.partition_by and self.partitions is None:
            raise ValueError("'partition_by' says what 'partitions' were made by; state how many there are")
        return self

    def paths(self) -> Iterator[FieldUse]:
        """Yield the folder, or the part of a pattern that is one."""
        if self.uri is not None:
            scheme, rest = parse_address(self.uri, _SCHEMES)
            if scheme in _FILES:
                yield FieldUse("uri", plain_part(rest))

    def urls(self) -> Iterator[FieldUse]:
        """Yield the first page's address."""
        if self.uri is not None and parse_address(self.uri, _SCHEMES).scheme in ("http", "https"):
            yield FieldUse("uri", self.uri)

    def port_type(self, port: str, inputs: Sequence[StreamType]) -> StreamType:
        """Return the type of refused records: their text, where they stand, and why."""
        return StreamType({**REFUSED_FIELDS, "error": pl.String()})

    def options(self) -> SourceOptions:
        """Return how records are read."""
        schema = parse_schema(self.schema_) if self.schema_ else None
        return SourceOptions(
            schema, self.event_time, self.epoch, self.extra, self.max_record_bytes, self.max_files, self.delimiter
        )

    def frame(self) -> pl.DataFrame:
        """Return the records of the pipeline. Raises ValueError where they have no common type."""
        conformer = Conformer(parse_schema(self.schema_), self.epoch, self.extra) if self.schema_ else None
        return frame_of(self.records or (), conformer)

    def timing(self) -> tuple[int, int | None, int]:
        """Return lateness, silence until idle and the furthest future, in microseconds."""
        return self.lateness, self.idle_after, self.max_ahead

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the fields that every record has."""
        fields: Mapping[str, pl.DataType] = DOCUMENT_FIELDS
        scheme = parse_address(self.uri, _SCHEMES).scheme if self.uri is not None else ""
        is_bounded = scheme != "nats" or self.bounded
        if scheme not in ("", "folder"):
            if self.schema_ is None and scheme == "nats":
                message = "nothing is known of its messages before it runs"
                problems.add("schema", message, "state their fields, as 'schema: {id: int, text: string}'")
                return StreamType(is_open=True, event_time=self.event_time, is_bounded=is_bounded)
            if self.schema_ is None:
                known = {self.event_time: TIMESTAMP} if self.event_time else {}
                return StreamType(known, is_open=True, event_time=self.event_time)
            fields = parse_schema(self.schema_)
        if self.records is not None:
            try:
                fields = self.frame().schema
            except ValueError as error:
                problems.add("records", str(error), "give each field values of one type, or state a 'schema'")
                return StreamType(is_open=True)
        if self.event_time is not None and fields.get(self.event_time) != TIMESTAMP:
            message = f"{self.event_time!r} is {write_type(fields.get(self.event_time, pl.Null()))!r}, not a timestamp"
            problems.add("event_time", message, f"state it in 'schema', as {{{self.event_time}: timestamp}}")
            return StreamType(fields, is_bounded=is_bounded)
        for name in self.partition_by:
            if fields.get(name) not in (pl.String(), pl.Int64()):
                message = f"{name!r} is {write_type(fields.get(name, pl.Null()))!r}, and was part of a subject"
                problems.add("partition_by", message, "name fields of text or whole numbers that 'schema' states")
        return StreamType(
            fields,
            event_time=self.event_time,
            is_bounded=is_bounded,
            partitioned_by=frozenset(self.partition_by),
        )


def build(node_id: str, spec: SourceNode, context: RunContext, inputs: Sequence[StreamType]) -> Source:
    """Make the source of a node. Raises PermissionDeniedError for a folder that the pipeline may not read."""
    if spec.records is not None:
        return RecordsSource(spec.frame())
    assert spec.uri is not None  # one of the two is set, see SourceNode
    scheme, rest = parse_address(spec.uri, _SCHEMES)
    if scheme == "jsonl":
        return TextFileSource(rest, JsonLines(), spec.options(), context.files)
    if scheme == "csv":
        return TextFileSource(rest, Csv(spec.delimiter), spec.options(), context.files)
    if scheme == "parquet":
        return ParquetSource(rest, spec.options(), context.files)
    # The clients of the network are imported where one is used: they are a quarter of what reading a pipeline imports.
    if scheme == "nats":
        from sage_kernel.connectors.nats_source import NatsSource, NatsSubject

        partitions = None
        if spec.partitions is not None:
            partitions = SubjectPartitions(rest, spec.partitions, spec.partition_by)
        wanted = NatsSubject(rest.replace(PLACE, "*"), spec.stream, spec.start, spec.bounded, partitions)
        return NatsSource(wanted, spec.options(), context.nats, Patience(context, node_id, "NATS", spec.patience))
    if scheme in ("http", "https"):
        from sage_kernel.connectors.http_source import HttpPages, HttpSource

        context.hosts.check(spec.uri)
        pages = HttpPages(spec.uri, spec.format, spec.items, spec.next, spec.max_file_bytes)
        return HttpSource(pages, spec.options(), context.hosts, Patience(context, node_id, rest[:80], spec.patience))
    folder = context.files.check(Path(rest))
    return FolderSource(node_id, folder, context, max_file_bytes=spec.max_file_bytes, max_files=spec.max_files)


SOURCE = OperatorType(SourceNode, build)
