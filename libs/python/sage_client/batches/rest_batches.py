"""Files and batches through a gateway's OpenAI API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import orjson

from sage_client import headers as names
from sage_client.gateway_answers import object_of, value_of
from sage_client.http import HttpTransport
from sage_common.errors import InvalidRequestError, NotFoundError

CALL_SECONDS = 60.0
PIECE_BYTES = 1024 * 1024
# Statuses after which nothing more happens to a batch.
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class BatchCountsView:
    """Requests of a batch."""

    total: int
    completed: int
    failed: int


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch, as the gateway tells of it. Times are seconds since 1970-01-01 UTC."""

    id: str
    status: str
    endpoint: str
    input_file_id: str
    created_at: int
    expires_at: int
    request_counts: BatchCountsView
    model: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: dict[str, Any] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in ENDED

    @property
    def reasons(self) -> list[str]:
        """Why it failed, a line each."""
        found = (self.errors or {}).get("data") or []
        return [
            f"line {error['line']}: {error['message']}" if error.get("line") else str(error["message"])
            for error in found
        ]


class RestBatches:
    """Batches at the gateway that ``transport`` speaks to. Every method raises SageError.

    Args:
        tenant: whose they are; empty leaves it to the gateway.
    """

    def __init__(self, transport: HttpTransport, tenant: str = "") -> None:
        self._transport = transport
        self._headers = {names.TENANT: tenant} if tenant else {}

    async def submit(self, file: Path, *, endpoint: str = CHAT, window: str = "24h") -> BatchView:
        """Upload a file of requests and make a batch of it. Raises OSError where it cannot be read."""
        with file.open("rb") as content:
            form = aiohttp.FormData()
            form.add_field("purpose", "batch")
            form.add_field("file", content, filename=file.name)
            async with self._transport.open("POST", "/v1/files", form, self._headers, None) as response:
                uploaded = object_of(await response.read())
        order = {"input_file_id": uploaded["id"], "endpoint": endpoint, "completion_window": window}
        return value_of(await self._call("POST", "", order), BatchView)

    async def get(self, batch_id: str) -> BatchView:
        """Return a batch."""
        return value_of(await self._call("GET", f"/{quote(batch_id, safe='')}"), BatchView)

    async def list_batches(self, limit: int = 20) -> list[BatchView]:
        """Return the latest batches, the latest first."""
        return value_of((await self._call("GET", f"?{urlencode({'limit': limit})}"))["data"], list[BatchView])

    async def cancel(self, batch_id: str) -> BatchView:
        """End a batch; what was answered stays."""
        return value_of(await self._call("POST", f"/{quote(batch_id, safe='')}/cancel"), BatchView)

    async def results(self, batch_id: str, *, errors: bool = False) -> AsyncIterator[bytes]:
        """Yield the bytes of a batch's result file, or of its error file.

        Raises:
            InvalidRequestError: the batch has not ended.
            NotFoundError: it has ended without such a file.
        """
        batch = await self.get(batch_id)
        if not batch.has_ended:
            counts = batch.request_counts
            raise InvalidRequestError(
                f"the batch {batch_id} is {batch.status} ({counts.completed + counts.failed} of {counts.total}); "
                "its files come with its end"
            )
        file_id, what = (batch.error_file_id, "errors") if errors else (batch.output_file_id, "results")
        if file_id is None:
            raise NotFoundError(f"the batch {batch_id} is {batch.status} and has no {what}")
        path = f"/v1/files/{file_id}/content"
        async with self._transport.open("GET", path, None, self._headers, None) as response:
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                yield piece

    async def _call(self, method: str, path: str, order: dict[str, Any] | None = None) -> dict[str, Any]:
        body = None if order is None else orjson.dumps(order)
        headers = {**self._headers, "content-type": "application/json"} if body else self._headers
        async with self._transport.open(method, f"/v1/batches{path}", body, headers, CALL_SECONDS) as response:
            return object_of(await response.read())
