"""One batch, from its file to its results, by the gateway that holds it. It goes on where another has left it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from nats.errors import Error as NatsError
from nats.js.client import JetStreamContext

from sage_common.errors import NotFoundError, SageError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_gateway.batches.batch_document import BatchError
from sage_gateway.batches.batch_lines import BrokenLineError, FileLine, file_lines, read_line
from sage_gateway.batches.batch_record import (
    CANCELLED,
    CANCELLING,
    COMPLETED,
    EXPIRED,
    FAILED,
    VALIDATING,
    BatchRecord,
    made_at,
)
from sage_gateway.batches.batch_store import BatchStore
from sage_gateway.batches.input_check import check_input
from sage_gateway.batches.line_answers import LineAnswers
from sage_gateway.batches.line_result import NOT_RUN, LineResult, refused
from sage_gateway.batches.output_files import OutputFiles
from sage_gateway.batches.result_log import ResultLog
from sage_gateway.files.file_record import FileRecord, new_file_id
from sage_gateway.files.file_store import FileStore
from sage_mesh.inference_request import new_request_id
from sage_platform import subjects
from sage_platform.fenced_log import ensure_log_stream

log = get_logger(__name__)

# How often the batch is looked at while its lines run: its counts are told, and its tenant's wish to end it is heard.
LOOK_SECONDS = 0.5
# Between the mark of a new batch and its record; later, whoever made it has died.
_CREATION_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.05
# Results outlive the records of their batches, so that none is missing while its batch is there.
_RESULTS_SECONDS = 40 * 86_400.0


@dataclass(frozen=True)
class BatchTools:
    """What every run of a gateway uses.

    Attributes:
        lines_at_once: of one batch, being answered at the same time.
        max_requests: most lines of a batch.
        max_line_bytes: longest line.
        now: seconds since 1970-01-01 UTC.
    """

    js: JetStreamContext
    store: BatchStore
    files: FileStore
    answers: LineAnswers
    lines_at_once: int
    max_requests: int
    max_line_bytes: int
    now: Callable[[], float] = time.time


class BatchRun:
    """Runs one batch to its end. Cancel ``run`` to leave it as it is, for another gateway."""

    def __init__(self, tools: BatchTools, tenant: str, batch_id: str) -> None:
        self._tools = tools
        self._tenant = tenant
        self._batch_id = batch_id
        self._results = ResultLog(tools.js, tenant, batch_id)

    async def run(self) -> None:
        """Do what is left to do.

        Raises:
            nats.errors.Error, asyncio.TimeoutError: JetStream does not answer, or takes nothing more; another run goes
                on from here.
            FencedLogError: another gateway runs the batch.
        """
        tools = self._tools
        batch = await self._find()
        if batch is not None and not batch.has_ended:
            await ensure_log_stream(
                tools.js,
                subjects.BATCH_RESULTS_STREAM,
                subjects.BATCH_RESULTS_ALL,
                max_age_seconds=_RESULTS_SECONDS,
            )
            try:
                await self._advance(batch)
            finally:
                await self._results.close()
        await self._results.drop()
        await tools.store.close(self._tenant, self._batch_id)

    async def _find(self) -> BatchRecord | None:
        """Return the batch; None where there is a mark of it alone. The mark is written before the record."""
        while True:
            stored = await self._tools.store.find(self._tenant, self._batch_id)
            if stored is not None:
                return stored.value
            if self._tools.now() - made_at(self._batch_id) > _CREATION_SECONDS:
                return None
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _advance(self, batch: BatchRecord) -> None:
        await self._results.take_over()
        if not batch.ends_as:
            ends_as = await self._run_lines(batch)
            batch = await self._change(lambda current: self._finalizing(current, ends_as))
        await self._write_files(batch)

    async def _run_lines(self, batch: BatchRecord) -> str:
        """Check the file, and answer its lines; return the state that the batch comes to."""
        try:
            return await self._run_source(batch)
        except NotFoundError:
            message = f"the file {batch.input_file_id} was deleted before all of its requests were run"
            return await self._fail(BatchError("input_file_deleted", message, "input_file_id"))
        except (NatsError, asyncio.TimeoutError, SageError):
            raise
        except Exception:
            # Run again, it would break again, and stay open for ever.
            log.exception("a batch cannot be run", batch=batch.id)
            return await self._fail(BatchError("internal_error", "the gateway failed; its log says why"))

    async def _run_source(self, batch: BatchRecord) -> str:
        source = await self._tools.files.get(self._tenant, batch.input_file_id)
        if batch.status == VALIDATING:
            batch = await self._check(batch, source)
        if batch.errors:
            return FAILED
        return await self._answer_until_ended(batch, source)

    async def _fail(self, error: BatchError) -> str:
        """Say why the batch cannot be run; return the state that it comes to."""
        await self._change(lambda current: current.failing((error,)))
        return FAILED

    async def _check(self, batch: BatchRecord, source: FileRecord) -> BatchRecord:
        tools = self._tools
        checked = await check_input(
            lambda: self._lines(source),
            batch.endpoint,
            max_requests=tools.max_requests,
            max_line_bytes=tools.max_line_bytes,
        )

        def begun(current: BatchRecord) -> BatchRecord:
            if checked.errors:
                return current.failing(checked.errors)
            if current.status != VALIDATING:
                return replace(current, counts=replace(current.counts, total=checked.total))
            return current.begun(checked.total, checked.model, tools.now())

        return await self._change(begun)

    async def _answer_until_ended(self, batch: BatchRecord, source: FileRecord) -> str:
        """Answer lines until there are no more, or the batch is to end."""
        answering = asyncio.create_task(self._answer_all(batch, source), name=f"lines-{batch.id}")
        try:
            while True:
                if batch.status == CANCELLING:
                    return CANCELLED
                if self._tools.now() >= batch.expires_at:
                    return EXPIRED
                done, _ = await asyncio.wait({answering}, timeout=LOOK_SECONDS)
                if done:
                    answering.result()
                    return COMPLETED
                batch = await self._change(self._counted)
        finally:
            await end_tasks(answering)

    async def _answer_all(self, batch: BatchRecord, source: FileRecord) -> None:
        room = asyncio.Semaphore(self._tools.lines_at_once)
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def answer(line: FileLine) -> None:
            try:
                await self._results.add(await self._answer(batch, line))
            except Exception as error:
                if not broken.done():
                    broken.set_exception(error)
            finally:
                room.release()

        tasks: set[asyncio.Task[None]] = set()
        try:
            async with aclosing(self._lines(source)) as lines:  # type: ignore[type-var]
                async for line in lines:
                    if line.number in self._results.done:
                        continue
                    await room.acquire()
                    if broken.done():
                        break
                    task = asyncio.create_task(answer(line))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            while tasks and not broken.done():
                await asyncio.wait({*tasks, broken}, return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                broken.result()
        finally:
            await end_tasks(*tasks)
            if broken.done():
                broken.exception()

    async def _answer(self, batch: BatchRecord, line: FileLine) -> LineResult:
        try:
            request = read_line(line, batch.endpoint, self._tools.max_line_bytes)
        except BrokenLineError as error:
            return refused(line.number, error.custom_id, new_request_id(), error)
        return await self._tools.answers.answer(self._tenant, batch.endpoint, request)

    async def _write_files(self, batch: BatchRecord) -> None:
        files = OutputFiles(self._tools.files, batch, self._tools.now)
        await files.begin()
        async for result in self._results.results():
            await files.add(result)
        if batch.ends_as in NOT_RUN:
            await self._write_unanswered(batch, files)
        has_output, has_errors = await files.finish()
        now = self._tools.now()
        await self._change(
            lambda current: replace(self._counted(current), has_output=has_output, has_errors=has_errors).ended(now)
        )
        counts = self._results.counts
        log.info("batch ended", batch=batch.id, status=batch.ends_as, completed=counts.completed, failed=counts.failed)

    async def _write_unanswered(self, batch: BatchRecord, files: OutputFiles) -> None:
        """Say of every line without a result that it was not run, as far as the file is still there."""
        try:
            source = await self._tools.files.get(self._tenant, batch.input_file_id)
            async for line in self._lines(source):
                if line.number in self._results.done:
                    continue
                try:
                    custom_id: str | None = read_line(line, batch.endpoint, self._tools.max_line_bytes).custom_id
                except BrokenLineError as error:
                    custom_id = error.custom_id
                await files.add_unanswered(custom_id)
        except NotFoundError:
            log.info("a batch's file is gone; what was not run is not listed", batch=batch.id)

    def _lines(self, source: FileRecord) -> AsyncIterator[FileLine]:
        return file_lines(self._tools.files.chunks(source), self._tools.max_line_bytes)

    def _finalizing(self, current: BatchRecord, ends_as: str) -> BatchRecord:
        now = self._tools.now()
        if current.status == CANCELLING and ends_as == COMPLETED:
            ends_as = CANCELLED
        return self._counted(current).finalizing(ends_as, new_file_id(now), new_file_id(now), now)

    def _counted(self, current: BatchRecord) -> BatchRecord:
        return replace(current, counts=replace(self._results.counts, total=current.counts.total))

    async def _change(self, change: Callable[[BatchRecord], BatchRecord]) -> BatchRecord:
        return await self._tools.store.change(self._tenant, self._batch_id, change)
