"""The two files that a batch's results become."""

from __future__ import annotations

from collections.abc import Callable

from sage_gateway.batches.batch_record import BatchRecord
from sage_gateway.batches.line_result import LineResult, not_run
from sage_gateway.files.file_record import OUTPUT_PURPOSE, FileRecord
from sage_gateway.files.file_store import FileStore, FileWriter


class OutputFiles:
    """Writes the output file and the error file of a batch, from the beginning each time; empty ones are not made."""

    def __init__(self, files: FileStore, batch: BatchRecord, now: Callable[[], float]) -> None:
        self._files = files
        self._batch = batch
        self._now = now
        self._writers: list[FileWriter] = []

    async def begin(self) -> None:
        """Remove what an earlier attempt has written of them."""
        for file_id in self._ids:
            await self._files.discard(self._batch.tenant, file_id)
            self._writers.append(await self._files.writer(self._batch.tenant, file_id))

    async def add(self, result: LineResult) -> None:
        """Write what a line came to."""
        await self._writers[result.is_error].write(result.text)

    async def add_unanswered(self, custom_id: str | None) -> None:
        """Write that a line was not run."""
        await self._writers[True].write(not_run(custom_id, self._batch.ends_as))

    async def finish(self) -> tuple[bool, bool]:
        """Make files of what was written; return which of the two there are."""
        return await self._make(0, "output"), await self._make(1, "error")

    @property
    def _ids(self) -> tuple[str, str]:
        return self._batch.output_file_id, self._batch.error_file_id

    async def _make(self, which: int, kind: str) -> bool:
        writer, batch = self._writers[which], self._batch
        await writer.finish()
        if not writer.bytes:
            return False
        made_at = int(self._now())
        record = FileRecord(
            self._ids[which],
            batch.tenant,
            f"{batch.id}_{kind}.jsonl",
            OUTPUT_PURPOSE,
            writer.bytes,
            writer.chunks,
            made_at,
            made_at + batch.output_lifetime_seconds,
        )
        await self._files.add(record)
        return True
