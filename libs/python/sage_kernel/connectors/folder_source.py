"""The documents of a folder, or one document."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.folder import list_documents, list_one
from sage_kernel.operator import Position, SourceBatch, Split
from sage_kernel.run_context import RunContext, Skipped
from sage_libs.loaders import UnreadableDocumentError, first_line, format_of, load_text

DOCUMENT_FIELDS: dict[str, pl.DataType] = {
    "id": pl.String(),
    "path": pl.String(),
    "text": pl.String(),
    "title": pl.String(),
    "bytes": pl.Int64(),
    "first_line": pl.Int64(),
}


class FolderSource:
    """The documents of a folder, one a batch, so that a large one does not hold up the next node."""

    def __init__(self, node_id: str, folder: Path, context: RunContext, *, max_file_bytes: int, max_files: int) -> None:
        self._node_id = node_id
        self._folder = folder
        self._context = context
        self._max_file_bytes = max_file_bytes
        self._max_files = max_files

    async def splits(self) -> Sequence[Split]:
        """The folder is one split."""
        return (None,)

    async def batches(self, split: Split, position: Position) -> AsyncIterator[SourceBatch]:
        """Yield documents behind the one named by ``position``; files that cannot be read are reported as skipped.

        Raises:
            NotFoundError, TooLargeError: see ``list_documents``.
            UnprocessableError: not one document could be read.
        """
        if self._folder.is_file():
            listing = await asyncio.to_thread(list_one, self._folder, max_file_bytes=self._max_file_bytes)
            self._folder = self._folder.parent
        else:
            listing = await asyncio.to_thread(
                list_documents, self._folder, max_file_bytes=self._max_file_bytes, max_files=self._max_files
            )
        left_out = list(listing.skipped)
        for item, reason in left_out:
            self._context.skip(Skipped(self._node_id, item, reason))
        read = 0
        for path in listing.files:
            if isinstance(position, str) and path.as_posix() <= position:
                read += 1
                continue
            try:
                record = await asyncio.to_thread(self._read, path)
            except (OSError, UnreadableDocumentError) as error:
                reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
                self._context.skip(Skipped(self._node_id, str(path), reason))
                left_out.append((str(path), reason))
                continue
            read += 1
            yield SourceBatch(pl.DataFrame([record], schema=DOCUMENT_FIELDS), path.as_posix())
        if read == 0:
            first = "; ".join(f"{item}: {reason}" for item, reason in left_out[:3])
            why = f", first {first}" if first else ""
            raise UnprocessableError(
                f"{self._folder} holds no document that can be read ({len(left_out)} entries left out{why}); "
                "put .md, .rst, .txt, .html or .pdf files there, or name another folder or document",
                code="no_documents",
            )

    def _read(self, path: Path) -> dict[str, Any]:
        absolute = self._folder / path
        with absolute.open("rb") as file:
            # The file may have grown since it was listed.
            data = file.read(self._max_file_bytes + 1)
        if len(data) > self._max_file_bytes:
            raise UnreadableDocumentError(f"over the limit of {self._max_file_bytes} bytes")
        suffix = format_of(path.name) or path.suffix
        loaded = load_text(data, suffix)
        name = path.as_posix()
        begins_at = first_line(data, suffix)
        values = (name, name, loaded.text, loaded.title, len(data), begins_at)
        return dict(zip(DOCUMENT_FIELDS, values, strict=True))
