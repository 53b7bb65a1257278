"""Where the objects of files and batches meet."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from nats.errors import Error as NatsError
from nats.js.client import JetStreamContext
from starlette.routing import Route

from sage_common.clock import Clock
from sage_gateway.batches.batch_routes import BatchRoutes
from sage_gateway.batches.batch_run import BatchRun, BatchTools
from sage_gateway.batches.batch_store import BatchStore
from sage_gateway.batches.line_answers import LineAnswers
from sage_gateway.body_reader import body_limit
from sage_gateway.config import GatewaySettings
from sage_gateway.credentials import Credentials
from sage_gateway.dialects.dialect import Dialect
from sage_gateway.files.file_routes import FileRoutes
from sage_gateway.files.file_store import FileStore
from sage_gateway.tenancy.gate import Gate
from sage_platform.background import keep_running
from sage_platform.marked_work import MarkedWork
from sage_platform.open_marks import OpenMark
from sage_platform.ring import Ring

_SWEEP_SECONDS = 900.0


@dataclass(frozen=True)
class Batches:
    """Files and batches of one gateway."""

    settings: GatewaySettings
    files: FileStore
    store: BatchStore
    answers: LineAnswers
    js: JetStreamContext
    max_line_bytes: int

    def routes(self, credentials: Credentials) -> list[Route]:
        """Return the routes to mount."""
        settings = self.settings
        files = FileRoutes(
            self.files,
            credentials,
            max_file_bytes=settings.max_file_bytes,
            max_tenant_bytes=settings.max_tenant_file_bytes,
            pause_seconds=settings.body_timeout_seconds,
        )
        batches = BatchRoutes(self.store, self.files, credentials, settings.body_timeout_seconds, self.answers.paths())
        return [*files.routes(), *batches.routes()]

    def sweeper(self) -> asyncio.Task[None]:
        """Start to remove what broken uploads and expired files have left."""

        async def sweep_forever() -> None:
            while True:
                await asyncio.sleep(_SWEEP_SECONDS)
                with contextlib.suppress(NatsError, asyncio.TimeoutError):
                    await self.files.sweep()

        return keep_running(sweep_forever, name="file-sweep")

    def worker(self, holder: str, clock: Clock) -> MarkedWork:
        """Start to run batches."""
        settings = self.settings
        tools = BatchTools(
            self.js,
            self.store,
            self.files,
            self.answers,
            lines_at_once=settings.batch_requests_in_flight,
            max_requests=settings.max_batch_requests,
            max_line_bytes=self.max_line_bytes,
        )

        async def run(batch: OpenMark) -> None:
            await BatchRun(tools, batch.tenant, batch.record_id).run()

        return MarkedWork(
            self.js,
            self.store.marks,
            "batches",
            run,
            holder=holder,
            slots=settings.batches_at_once,
            clock=clock,
        )


def assemble_batches(settings: GatewaySettings, ring: Ring, gate: Gate, responses: Dialect) -> Batches:
    """Return the files and batches of a gateway; nothing is asked of JetStream before it is needed.

    Args:
        responses: how requests of ``/v1/responses`` are translated.
    """
    js = ring.connection.jetstream()
    answers = LineAnswers(
        gate,
        responses,
        in_flight=settings.batch_requests_in_flight,
        timeout_seconds=settings.timeout_seconds,
    )
    limit = body_limit(settings.most_inline_bytes, ring.max_item_bytes)
    return Batches(settings, FileStore(js), BatchStore(js, settings.batch_retention_days), answers, js, limit)
