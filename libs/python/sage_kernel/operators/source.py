"""``source``: records given in the pipeline itself, or the documents of a folder (``folder:docs``)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from sage_common.errors import UnprocessableError
from sage_kernel.folder import list_documents, list_one
from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator import Batch, OperatorType, Record, RunContext, Skipped, Source
from sage_kernel.operators.uri import parse_address
from sage_libs.loaders import UnreadableDocumentError, first_line, format_of, load_text

_BATCH_RECORDS = 256
_DOCUMENT_FIELDS = frozenset({"id", "path", "text", "title", "bytes"})


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

    def fields_out(self, fields_in: frozenset[str]) -> frozenset[str]:
        """Return the fields that every record has."""
        if self.records is None:
            return _DOCUMENT_FIELDS
        names = [frozenset(record) for record in self.records]
        return frozenset.intersection(*names) if names else frozenset()


class RecordsSource:
    """The records written in the pipeline."""

    def __init__(self, records: tuple[Record, ...]) -> None:
        self._records = records

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield the records in order."""
        for start in range(0, len(self._records), _BATCH_RECORDS):
            yield self._records[start : start + _BATCH_RECORDS]


class FolderSource:
    """The documents of a folder, one a batch, so that a large one does not hold up the next node."""

    def __init__(self, node_id: str, spec: SourceNode, folder: Path, context: RunContext) -> None:
        self._node_id = node_id
        self._spec = spec
        self._folder = folder
        self._context = context

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield documents; files that cannot be read are reported as skipped.

        Raises:
            NotFoundError, TooLargeError: see ``list_documents``.
            UnprocessableError: not one document could be read.
        """
        spec = self._spec
        if self._folder.is_file():
            listing = await asyncio.to_thread(list_one, self._folder, max_file_bytes=spec.max_file_bytes)
            self._folder = self._folder.parent
        else:
            listing = await asyncio.to_thread(
                list_documents, self._folder, max_file_bytes=spec.max_file_bytes, max_files=spec.max_files
            )
        left_out = list(listing.skipped)
        for item, reason in left_out:
            self._context.skip(Skipped(self._node_id, item, reason))
        read = 0
        for path in listing.files:
            try:
                record = await asyncio.to_thread(self._read, path)
            except (OSError, UnreadableDocumentError) as error:
                reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
                self._context.skip(Skipped(self._node_id, str(path), reason))
                left_out.append((str(path), reason))
                continue
            read += 1
            yield [record]
        if read == 0:
            first = "; ".join(f"{item}: {reason}" for item, reason in left_out[:3])
            why = f", first {first}" if first else ""
            raise UnprocessableError(
                f"{self._folder} holds no document that can be read ({len(left_out)} entries left out{why}); "
                "put .md, .rst, .txt, .html or .pdf files there, or name another folder or document",
                code="no_documents",
            )

    def _read(self, path: Path) -> Record:
        absolute = self._folder / path
        with absolute.open("rb") as file:
            # The file may have grown since it was listed.
            data = file.read(self._spec.max_file_bytes + 1)
        if len(data) > self._spec.max_file_bytes:
            raise UnreadableDocumentError(f"over the limit of {self._spec.max_file_bytes} bytes")
        suffix = format_of(path.name) or path.suffix
        loaded = load_text(data, suffix)
        name = path.as_posix()
        record = {"id": name, "path": name, "text": loaded.text, "title": loaded.title, "bytes": len(data)}
        begins_at = first_line(data, suffix)
        return record if begins_at == 1 else {**record, "first_line": begins_at}


def build(node_id: str, spec: SourceNode, context: RunContext) -> Source:
    """Make the source of a node. Raises PermissionDeniedError for a folder that the pipeline may not read."""
    if spec.records is not None:
        return RecordsSource(spec.records)
    assert spec.uri is not None  # one of the two is set, see SourceNode
    folder = context.files.check(Path(parse_address(spec.uri, ("folder",)).rest))
    return FolderSource(node_id, spec, folder, context)


SOURCE = OperatorType(SourceNode, build)
