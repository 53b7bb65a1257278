"""``/v1/batches``: making, listing and cancelling batches, as OpenAI's API does it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_common.errors import ConflictError, InvalidRequestError, NotFoundError
from sage_gateway.admission import wanted_headers
from sage_gateway.batches.batch_document import BatchDocument
from sage_gateway.batches.batch_orders import BatchOrderBody, read_batch_order
from sage_gateway.batches.batch_record import CANCELLABLE, CANCELLING, BatchRecord, new_batch_id
from sage_gateway.batches.batch_store import BatchStore
from sage_gateway.body_reader import BodyReader
from sage_gateway.credentials import Credentials
from sage_gateway.dialects.fields import read_object
from sage_gateway.event_stream import json_answer
from sage_gateway.files.file_record import BATCH_PURPOSE
from sage_gateway.files.file_store import FileStore
from sage_gateway.listing import list_document, page_parameters
from sage_gateway.openapi.answers import Paged
from sage_gateway.openapi.operation import operation, routes_of
from sage_platform.jetstream_access import reaching_jetstream

_MAX_BODY_BYTES = 64 * 1024
_DEFAULT_LISTED = 20
_MOST_LISTED = 100

_ROOT = "/v1/batches"
_ONE = f"{_ROOT}/{{batch_id}}"
_PAGE = page_parameters(default_limit=_DEFAULT_LISTED, most=_MOST_LISTED)


class BatchRoutes:
    """Serves tenants with their own batches; those of another are not there.

    Args:
        endpoints: that batches may be for.
        now: seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        store: BatchStore,
        files: FileStore,
        credentials: Credentials,
        body_timeout_seconds: float,
        endpoints: Sequence[str],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._files = files
        self._credentials = credentials
        self._bodies = BodyReader(_MAX_BODY_BYTES, body_timeout_seconds)
        self._endpoints = endpoints
        self._now = now

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return routes_of(self)

    @operation("POST", _ROOT, "Make a batch", body=BatchOrderBody, answer=BatchDocument)
    async def _create(self, request: Request) -> Response:
        tenant = self._credentials.tenant(request.headers)
        body = await self._bodies.read(wanted_headers(request.scope), request.receive)
        order = read_batch_order(read_object(body), self._endpoints)
        now = self._now()
        with reaching_jetstream():
            await self._check_file(tenant, order.input_file_id)
            batch = BatchRecord(
                new_batch_id(now),
                tenant,
                order.endpoint,
                order.input_file_id,
                order.completion_window,
                int(now),
                int(now) + order.window_seconds,
                order.output_lifetime_seconds,
                metadata=order.metadata,
            )
            await self._store.create(batch)
        return json_answer(batch.document())

    async def _check_file(self, tenant: str, file_id: str) -> None:
        try:
            source = await self._files.get(tenant, file_id)
        except NotFoundError:
            raise InvalidRequestError(
                f"no file has the id {file_id[:80]!r}; upload one to /v1/files with purpose 'batch'",
                code="file_not_found",
                param="input_file_id",
            ) from None
        if source.purpose != BATCH_PURPOSE:
            raise InvalidRequestError(
                f"the file {source.id} was uploaded for {source.purpose!r}; upload it with purpose 'batch'",
                code="wrong_file_purpose",
                param="input_file_id",
            )

    @operation("GET", _ROOT, "List batches", answer=Paged[BatchDocument], query=_PAGE)
    async def _list(self, request: Request) -> Response:
        tenant = self._credentials.tenant(request.headers)
        page = _PAGE.of(request)
        with reaching_jetstream():
            ids = page.ids(await self._store.ids(tenant))
            found = await self._store.get_all(tenant, ids[: page.limit])
        documents = [batch.document() for batch in found]
        return json_answer(list_document(documents, has_more=len(ids) > page.limit))

    @operation("GET", _ONE, "Get a batch", answer=BatchDocument)
    async def _get(self, request: Request) -> Response:
        tenant = self._credentials.tenant(request.headers)
        with reaching_jetstream():
            return json_answer((await self._store.get(tenant, request.path_params["batch_id"])).document())

    @operation("POST", f"{_ONE}/cancel", "Cancel a batch", answer=BatchDocument)
    async def _cancel(self, request: Request) -> Response:
        tenant = self._credentials.tenant(request.headers)

        def cancelling(batch: BatchRecord) -> BatchRecord:
            if batch.status == CANCELLING:
                return batch
            if batch.status not in CANCELLABLE:
                raise ConflictError(
                    f"the batch {batch.id} is {batch.status} and cannot be cancelled", code="batch_not_cancellable"
                )
            return batch.cancelling(self._now())

        with reaching_jetstream():
            batch = await self._store.change(tenant, request.path_params["batch_id"], cancelling)
        return json_answer(batch.document())
