"""``/v1/files``: uploading, listing, reading and deleting files, as OpenAI's API does it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sage_common.errors import CancelledError, InvalidRequestError, TooLargeError
from sage_gateway.credentials import Credentials
from sage_gateway.event_stream import json_answer
from sage_gateway.files.file_record import UPLOAD_PURPOSES, FileDocument, FileRecord, new_file_id
from sage_gateway.files.file_store import FileStore, FileWriter
from sage_gateway.files.upload_form import FILE_FIELD, UploadForm
from sage_gateway.files.upload_orders import (
    ANCHOR_FIELD,
    LONGEST_LIFETIME_SECONDS,
    SECONDS_FIELD,
    SHORTEST_LIFETIME_SECONDS,
    read_upload_order,
)
from sage_gateway.listing import list_document, page_parameters
from sage_gateway.openapi.answers import Deleted, Paged
from sage_gateway.openapi.operation import BINARY, operation, routes_of
from sage_gateway.query_parameters import Text
from sage_platform.jetstream_access import reaching_jetstream

_MOST_LISTED = 10_000
# What a form has beside its file.
_FORM_BYTES = 64 * 1024

_ROOT = "/v1/files"
_ONE = f"{_ROOT}/{{file_id}}"
_PAGE = page_parameters(default_limit=_MOST_LISTED, most=_MOST_LISTED)
_PURPOSE = Text("purpose", "list only files for it; empty for all")
_FORM = {
    "multipart/form-data": {
        "type": "object",
        "required": ["file", "purpose"],
        "additionalProperties": False,
        "properties": {
            FILE_FIELD: BINARY,
            "purpose": {"type": "string", "enum": list(UPLOAD_PURPOSES)},
            ANCHOR_FIELD: {"const": "created_at"},
            SECONDS_FIELD: {
                "type": "integer",
                "minimum": SHORTEST_LIFETIME_SECONDS,
                "maximum": LONGEST_LIFETIME_SECONDS,
            },
        },
    }
}


class FileRoutes:
    """Serves tenants with their own files; those of another are not there.

    Args:
        max_file_bytes: largest file that is taken.
        max_tenant_bytes: what all files of a tenant may have together.
        pause_seconds: longest wait for the next piece of an upload.
        now: seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        files: FileStore,
        credentials: Credentials,
        *,
        max_file_bytes: int,
        max_tenant_bytes: int,
        pause_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._credentials = credentials
        self._max_file_bytes = max_file_bytes
        self._max_tenant_bytes = max_tenant_bytes
        self._pause_seconds = pause_seconds
        self._now = now

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return routes_of(self)

    @operation("POST", _ROOT, "Upload a file", raw_body=_FORM, answer=FileDocument)
    async def _create(self, request: Request) -> Response:
        tenant = self._credentials.tenant(request.headers)
        form = UploadForm(request.headers.get("content-type", ""))
        announced = request.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced) > self._max_file_bytes + _FORM_BYTES:
            raise self._too_large()
        with reaching_jetstream():
            room = self._max_tenant_bytes - await self._files.used_bytes(tenant)
            file_id = new_file_id(self._now())
            writer = await self._files.writer(tenant, file_id)
            is_kept = False
            try:
                await self._receive(request, form, writer, room)
                record = self._record(tenant, file_id, form, writer)
                await self._files.add(record)
                is_kept = True
            finally:
                if not is_kept and writer.chunks:
                    await self._files.discard(tenant, file_id)
        return json_answer(record.document())

    async def _receive(self, request: Request, form: UploadForm, writer: FileWriter, room: int) -> None:
        """Write the file of an upload. Raises SageError."""
        more = True
        while more:
            try:
                message = await asyncio.wait_for(request.receive(), self._pause_seconds)
            except asyncio.TimeoutError:
                raise InvalidRequestError(
                    f"nothing of the upload came for {self._pause_seconds:g} s", code="body_timeout"
                ) from None
            if message["type"] == "http.disconnect":
                raise CancelledError("the client went away")
            file_bytes = form.feed(message.get("body", b""))
            if writer.bytes + len(file_bytes) > self._max_file_bytes:
                raise self._too_large()
            if writer.bytes + len(file_bytes) > room:
                raise TooLargeError(
                    f"with this file the tenant's would have more than {self._max_tenant_bytes} bytes; delete some, or "
                    "raise SAGE_GATEWAY_MAX_TENANT_FILE_BYTES",
                    code="storage_limit_exceeded",
                    param=FILE_FIELD,
                )
            await writer.write(file_bytes)
            more = bool(message.get("more_body"))
        if not form.is_whole:
            raise InvalidRequestError("the form breaks off before its end", code="invalid_form")
        await writer.finish()

    def _record(self, tenant: str, file_id: str, form: UploadForm, writer: FileWriter) -> FileRecord:
        order = read_upload_order(form.fields)
        if form.filename is None:
            raise InvalidRequestError("'file' is needed", code="missing_required_parameter", param=FILE_FIELD)
        created_at = int(self._now())
        expires_at = None if order.lifetime_seconds is None else created_at + order.lifetime_seconds
        name = form.filename or "file"
        return FileRecord(file_id, tenant, name, order.purpose, writer.bytes, writer.chunks, created_at, expires_at)

    @operation("GET", _ROOT, "List files", answer=Paged[FileDocument], query=(*_PAGE, _PURPOSE))
    async def _list(self, request: Request) -> Response:
        tenant = self._credentials.tenant(request.headers)
        page = _PAGE.of(request)
        purpose = _PURPOSE.of(request)
        with reaching_jetstream():
            found = await self._files.get_all(tenant, page.ids(await self._files.ids(tenant)))
        wanted = [record.document() for record in found if not purpose or record.purpose == purpose]
        return json_answer(list_document(wanted[: page.limit], has_more=len(wanted) > page.limit))

    @operation("GET", _ONE, "Get a file", answer=FileDocument)
    async def _get(self, request: Request) -> Response:
        return json_answer((await self._record_of(request)).document())

    @operation("DELETE", _ONE, "Delete a file", answer=Deleted)
    async def _delete(self, request: Request) -> Response:
        record = await self._record_of(request)
        with reaching_jetstream():
            await self._files.remove(record.tenant, record.id)
        return json_answer({"id": record.id, "object": "file", "deleted": True})

    @operation("GET", f"{_ONE}/content", "Read a file", raw_answer={"application/octet-stream": BINARY})
    async def _content(self, request: Request) -> Response:
        record = await self._record_of(request)
        chunks = self._files.chunks(record)
        with reaching_jetstream():
            # A refusal must come before the head of the answer is sent.
            first = await anext(chunks, b"")
        headers = {"content-length": str(record.bytes)}
        return StreamingResponse(_joined(first, chunks), media_type="application/octet-stream", headers=headers)

    async def _record_of(self, request: Request) -> FileRecord:
        tenant = self._credentials.tenant(request.headers)
        with reaching_jetstream():
            return await self._files.get(tenant, request.path_params["file_id"])

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            f"the file has more than {self._max_file_bytes} bytes; send it in parts, or raise "
            "SAGE_GATEWAY_MAX_FILE_BYTES",
            param=FILE_FIELD,
        )


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(rest) as chunks:  # type: ignore[type-var]
        yield first
        async for chunk in chunks:
            yield chunk
