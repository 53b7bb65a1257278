"""``sink``: where records end: a named collection of the result (``collection:answers``) or ``jsonl:out.jsonl``."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

import orjson
from pydantic import Field, field_validator

from sage_common.errors import UnprocessableError
from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator import Batch, Operator, OperatorType, Record, RunContext, StatelessOperator
from sage_kernel.operators.uri import parse_address

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


class CollectionSink(StatelessOperator):
    """Puts records into a collection of the run's result."""

    def __init__(self, name: str, fields: tuple[str, ...], context: RunContext) -> None:
        self._fields = fields
        self._records = context.collections.setdefault(name, [])

    async def process(self, batch: Batch) -> Batch:
        """Keep the records."""
        self._records.extend([_only(record, self._fields) for record in batch])
        return ()


class JsonLinesSink:
    """Writes records to a file, one JSON object a line. The file appears when the run has succeeded, whole."""

    def __init__(self, path: Path, fields: tuple[str, ...]) -> None:
        self._path = path
        self._fields = fields
        self._file: IO[bytes] | None = None
        self._temporary = ""

    @property
    def batch_records(self) -> int:
        """Takes what comes."""
        return 256

    async def process(self, batch: Batch) -> Batch:
        """Write the records. Raises UnprocessableError for one that JSON has no form for, OSError from the disk."""
        try:
            lines = b"".join(_json_line(_only(record, self._fields)) for record in batch)
        except TypeError as error:
            raise UnprocessableError(
                f"a record cannot be written as JSON: {error}; choose others with 'fields'"
            ) from None
        await asyncio.to_thread(self._append, lines)
        return ()

    async def finish(self) -> Batch:
        """Put the file in its place."""
        await asyncio.to_thread(self._publish)
        return ()

    async def close(self) -> None:
        """Remove an unfinished file."""
        if self._file is not None:
            self._file.close()
            os.unlink(self._temporary)
            self._file = None

    def _append(self, lines: bytes) -> None:
        self._open().write(lines)

    def _publish(self) -> None:
        file = self._open()
        file.flush()
        os.fsync(file.fileno())
        file.close()
        os.replace(self._temporary, self._path)
        self._file = None

    def _open(self) -> IO[bytes]:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, self._temporary = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            self._file = os.fdopen(descriptor, "wb")
        return self._file


def build(node_id: str, spec: SinkNode, context: RunContext) -> Operator:
    """Make the sink of a node. Raises PermissionDeniedError for a file that the pipeline may not write."""
    scheme, rest = parse_address(spec.uri, _SCHEMES)
    if scheme == "collection":
        return CollectionSink(rest, spec.fields, context)
    return JsonLinesSink(context.files.check(Path(rest)), spec.fields)


def _only(record: Record, fields: tuple[str, ...]) -> Record:
    return {name: record[name] for name in fields} if fields else record


def _json_line(record: Record) -> bytes:
    return orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


SINK = OperatorType(SinkNode, build)
