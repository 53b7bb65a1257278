"""The stored responses of all tenants, and which of them are being made in the background."""

from __future__ import annotations

from collections.abc import Callable

from nats.errors import MaxPayloadError
from nats.js.client import JetStreamContext

from sage_common.errors import NotFoundError, TooLargeError
from sage_gateway.responses.stored_response import StoredResponse, decode_response, encode_response, is_response_id
from sage_platform import subjects
from sage_platform.kv import open_bucket
from sage_platform.open_marks import OpenMarks
from sage_platform.opened_late import OpenedLate
from sage_platform.tenant_bucket import StoredRecord, TenantBucket

_DAY_SECONDS = 86_400.0


class ResponseStore:
    """Keeps responses. Every method raises nats.errors.Error or asyncio.TimeoutError where JetStream does not answer.

    Args:
        retention_days: after which a response is forgotten.
    """

    def __init__(self, js: JetStreamContext, retention_days: float) -> None:
        retention = retention_days * _DAY_SECONDS
        bucket = OpenedLate(lambda: open_bucket(js, subjects.BUCKET_RESPONSES, ttl_seconds=retention))
        self._records = TenantBucket(bucket, subjects.BUCKET_RESPONSES, encode_response, decode_response)
        self.marks = OpenMarks(
            OpenedLate(lambda: open_bucket(js, subjects.BUCKET_OPEN_RESPONSES, ttl_seconds=retention))
        )

    async def add(self, response: StoredResponse) -> None:
        """Store a response. Raises TooLargeError where it is longer than messages of NATS may be."""
        try:
            await self._records.create(response.tenant, response.id, response)
        except MaxPayloadError:
            raise _too_long(response.id) from None

    async def find(self, tenant: str, response_id: str) -> StoredRecord[StoredResponse] | None:
        """Return a response, or None."""
        return await self._records.get(tenant, response_id) if is_response_id(response_id) else None

    async def get(self, tenant: str, response_id: str, param: str = "response_id") -> StoredResponse:
        """Return a response. Raises NotFoundError where the tenant has none of this id."""
        stored = await self.find(tenant, response_id)
        if stored is None:
            raise _no_such_response(response_id, param)
        return stored.value

    async def change(
        self, tenant: str, response_id: str, change: Callable[[StoredResponse], StoredResponse]
    ) -> StoredResponse:
        """Store what ``change`` makes of a response, as it is now, and return it. ``change`` may be called again where
        another has changed the response at the same time, and may raise.

        Raises:
            NotFoundError: the tenant has none of this id.
            TooLargeError: it is longer now than messages of NATS may be.
        """
        try:
            changed = await self._records.change(tenant, response_id, change) if is_response_id(response_id) else None
        except MaxPayloadError:
            raise _too_long(response_id) from None
        if changed is None:
            raise _no_such_response(response_id, "response_id")
        return changed

    async def remove(self, tenant: str, response_id: str) -> None:
        """Remove a response. Raises NotFoundError where the tenant has none of this id."""
        if not is_response_id(response_id) or not await self._records.remove(tenant, response_id):
            raise _no_such_response(response_id, "response_id")


def _too_long(response_id: str) -> TooLargeError:
    return TooLargeError(
        f"the conversation up to {response_id} is longer than what can be stored; send the request with "
        "'store': false and the conversation as 'input'",
        code="response_not_stored",
        param="store",
    )


def _no_such_response(response_id: str, param: str) -> NotFoundError:
    return NotFoundError(f"no response has the id {response_id[:80]!r}", code="response_not_found", param=param)
