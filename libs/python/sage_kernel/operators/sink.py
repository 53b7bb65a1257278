"""``sink``: where records end: a named collection of the result (``collection:answers``), a file, NATS, HTTP, a
knowledge base (``kb:notes``), or the terminal (``print:``)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import Field, StringConstraints, field_validator, model_validator

from sage_kernel.connectors.folder_sink import FolderSink
from sage_kernel.connectors.knowledge_sink import KnowledgeSink
from sage_kernel.connectors.parquet_sink import ParquetSink
from sage_kernel.connectors.patience import DEFAULT_PATIENCE_US, Patience
from sage_kernel.connectors.print_sink import PrintSink
from sage_kernel.connectors.text_file_sink import TextFileSink, csv_encoder, encode_json
from sage_kernel.connectors.unfinished_file import UnfinishedFile
from sage_kernel.durations import Duration
from sage_kernel.knowledge_access import KNOWLEDGE_PATTERN
from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator import Sink, State
from sage_kernel.operator_type import OperatorType
from sage_kernel.operators.uri import Address, check_subject, parse_address
from sage_kernel.run_context import RunContext
from sage_kernel.stream_type import NodeProblems, StreamType, union_of
from sage_kernel.template import Template

_SCHEMES = ("collection", "jsonl", "csv", "parquet", "folder", "nats", "print", "http", "https", "kb")
_FILES = ("jsonl", "csv", "parquet", "folder")
_SINGLE_FILES = ("jsonl", "csv", "parquet")
MAX_TEMPLATE_CHARACTERS = 1024


class SinkNode(NodeSpec):
    """Where records end.

    Attributes:
        uri: ``collection:NAME``; ``jsonl:FILE``, ``csv:FILE``, ``parquet:FILE`` (``parquet:FOLDER/`` for a folder of
            parts); ``folder:FOLDER`` for a text file a record; ``nats://SUBJECT``, which may have fields of the record,
            as ``nats://stats.{topic}``; ``http://`` or ``https://`` to post each to; ``kb:NAME`` for a document of a
            knowledge base each, which is embedded by that one's model; ``print:``.
        fields: keep only these; empty keeps all. For ``folder:`` the one with the text; for ``kb:`` the one with the
            text first, then those that are kept with it, for filters.
        id: template of what a record is known by: the path of its file in a folder or of its document in a knowledge
            base, the id by which NATS stores it once only, or the Idempotency-Key of an HTTP request.
        format: of messages: ``json`` for one record each, ``arrow`` for many.
        delimiter: between two values of CSV.
        patience: how long to wait for a full disk or a server that is gone.
    """

    positional = ("uri",)
    gives_output = False

    op: Literal["sink"]
    uri: str
    fields: tuple[FieldName, ...] = Field((), max_length=1024)
    id: str | None = Field(None, min_length=1, max_length=MAX_TEMPLATE_CHARACTERS)
    format: Literal["json", "arrow"] = "json"
    delimiter: Annotated[str, StringConstraints(pattern=r"^[,;|\t:]$")] = ","
    patience: Duration = Field(DEFAULT_PATIENCE_US, ge=0)

    @field_validator("uri")
    @classmethod
    def _has_a_known_scheme(cls, uri: str) -> str:
        scheme, rest = parse_address(uri, _SCHEMES, bare=("print",))
        if scheme == "nats":
            Template(rest)
            check_subject(rest)
            if any(token in ("*", ">") for token in rest.split(".")):
                raise ValueError(f"{uri[:80]!r} has a wildcard, and records go to one subject; name one")
        if scheme == "kb" and not re.fullmatch(KNOWLEDGE_PATTERN, rest):
            raise ValueError(
                f"{uri[:120]!r} cannot name a knowledge base; take up to 100 letters, digits, dots, dashes and "
                "underscores, a letter or digit first"
            )
        return uri

    @field_validator("id")
    @classmethod
    def _is_a_template(cls, identity: str | None) -> str | None:
        if identity is not None:
            Template(identity)
        return identity

    @model_validator(mode="after")
    def _fits_its_place(self) -> SinkNode:
        scheme, rest = self.address
        if self.format == "arrow" and (scheme != "nats" or self.id is not None or Template(rest).paths):
            raise ValueError("'format: arrow' is for nats:// with one subject, and without an 'id' of single records")
        if scheme == "folder" and len(self.fields) > 1:
            raise ValueError("a folder takes one field, with the text; name one in 'fields'")
        return self

    @property
    def address(self) -> Address:
        """The parts of ``uri``."""
        return parse_address(self.uri, _SCHEMES, bare=("print",))

    @property
    def knowledge(self) -> str | None:
        """The name of the knowledge base."""
        scheme, rest = self.address
        return rest if scheme == "kb" else None

    @property
    def needs_models(self) -> bool:
        """What is stored in a knowledge base is embedded."""
        return self.knowledge is not None

    @property
    def is_splittable(self) -> bool:
        """One file, or one folder of parts, has one writer."""
        return self.address.scheme not in _SINGLE_FILES

    @property
    def is_mergeable(self) -> bool:
        """Its records may be written one part behind the other."""
        return True

    def results(self) -> Iterator[FieldUse]:
        """Yield the collection, file or subject."""
        yield FieldUse("uri", self.uri)

    def paths(self) -> Iterator[FieldUse]:
        """Yield the file."""
        scheme, rest = self.address
        if scheme in _FILES:
            yield FieldUse("uri", rest)

    def urls(self) -> Iterator[FieldUse]:
        """Yield where records are posted to."""
        if self.address.scheme in ("http", "https"):
            yield FieldUse("uri", self.uri)

    def reads(self) -> Iterator[FieldUse]:
        """Yield the fields to keep, and those of the templates."""
        yield from (FieldUse("fields", name) for name in self.fields)
        scheme, rest = self.address
        if scheme == "nats":
            yield from (FieldUse("uri", name) for name in Template(rest).paths)
        if self.id is not None:
            yield from (FieldUse("id", name) for name in Template(self.id).paths)
        if scheme in ("folder", "kb"):
            if not self.fields:
                yield FieldUse("fields", "text")
            if self.id is None:
                yield FieldUse("id", "id")

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the records as they came, and report where a restart would store some of them twice."""
        scheme, _ = self.address
        if scheme in ("nats", "http", "https") and self.id is None and self.format == "json":
            message = f"{scheme}:// is given records again after a restart, and without an 'id' it takes them twice"
            problems.add("id", message, "say what identifies a record, as 'id: \"{id}\"' or '{topic}/{window.start}'")
        return union_of(inputs)


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
    scheme, rest = spec.address
    # The clients of the network are imported where one is used: they are a quarter of what reading a pipeline imports.
    if scheme == "nats":
        from sage_kernel.connectors.nats_sink import NatsSink, NatsTarget

        patience = Patience(context, node_id, "NATS", spec.patience)
        return NatsSink(NatsTarget(rest, spec.id, spec.fields, spec.format), context.nats, patience)
    if scheme in ("http", "https"):
        from sage_kernel.connectors.http_sink import HttpSink

        patience = Patience(context, node_id, rest[:80], spec.patience)
        key = Template(spec.id) if spec.id is not None else None
        return HttpSink(spec.uri, key, spec.fields, spec.concurrency, context.hosts, patience)
    if scheme in _FILES:
        path = context.files.check(Path(rest))
        patience = Patience(context, node_id, f"room on the disk of {path.parent}", spec.patience)
        if scheme == "folder":
            text = spec.fields[0] if spec.fields else "text"
            return FolderSink(path, Template(spec.id or "{id}"), text, context.run_id, patience)
    if scheme == "kb":
        patience = Patience(context, node_id, f"the knowledge base {rest}", spec.patience)
        text, kept = (spec.fields[0], spec.fields[1:]) if spec.fields else ("text", None)
        identity = Template(spec.id or "{id}")
        return KnowledgeSink(rest, identity, text, kept, context.knowledge, context.models, patience)
    stream = union_of(inputs)
    if scheme == "collection":
        sink: Sink = context.collections(rest, node_id, stream)
    elif scheme == "print":
        sink = PrintSink(rest)
    elif scheme == "parquet":
        fields = {name: stream.fields[name] for name in spec.fields or stream.fields if name in stream.fields}
        sink = ParquetSink(path, rest.endswith("/"), context.run_id, fields, patience)
    else:
        file = UnfinishedFile(path, context.run_id)
        names = list(spec.fields or stream.fields)
        header = csv_encoder(spec.delimiter)(pl.DataFrame(schema=names), True) if names else b""
        encode = encode_json if scheme == "jsonl" else csv_encoder(spec.delimiter)
        sink = TextFileSink(file, encode, patience, header if scheme == "csv" else b"")
    return ChosenFields(sink, spec.fields) if spec.fields else sink


SINK = OperatorType(SinkNode, build)
