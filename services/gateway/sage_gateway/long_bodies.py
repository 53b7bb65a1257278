"""Bodies that do not fit a message: their images go beside them, through JetStream's object store."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace

from sage_common.errors import TooLargeError, UnavailableError
from sage_gateway.asgi import Headers
from sage_gateway.tenancy.gate import Gate
from sage_mesh.bodies.body_parts import BodyParts, split_body
from sage_mesh.bodies.body_store import GRACE_SECONDS, BodyStore
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.reply import Reply

# Each is in memory several times until it is stored.
STORED_AT_ONCE = 2
# Each is in memory whole while it waits.
MOST_WAITING = 8


class LongBodies:
    """Lets requests in through another gate; a body of more than ``inline_bytes`` without its long parts.

    What is stored of a request is removed when it ends; where nobody is left to do that, once it would have timed out.
    """

    def __init__(self, gate: Gate, store: BodyStore, inline_bytes: int) -> None:
        self._gate = gate
        self._store = store
        self._inline_bytes = inline_bytes
        self._slots = asyncio.Semaphore(STORED_AT_ONCE)
        self._storing = 0
        self._removals: set[asyncio.Task[None]] = set()

    async def submit(self, request: InferenceRequest) -> Reply:
        """Submit a request.

        Raises:
            TooLargeError: its body is too long without its long parts too.
            UnavailableError: too many others wait to be stored.
            SageError: it is refused, or its parts cannot be stored.
        """
        if len(request.body) <= self._inline_bytes:
            return await self._gate.submit(request)
        body, parts = await self._split_and_stored(request)
        try:
            reply = await self._gate.submit(replace(request, body=body, body_object=parts.object_id))
        except BaseException:
            self._remove(self._store.remove(parts.object_id))
            raise
        self._remove(self._remove_after(reply, parts.object_id))
        return reply

    def headers(self, tenant: str) -> Headers:
        """Return what an answer says of its tenant's rates."""
        return self._gate.headers(tenant)

    async def _split_and_stored(self, request: InferenceRequest) -> tuple[bytes, BodyParts]:
        if self._storing >= STORED_AT_ONCE + MOST_WAITING:
            raise UnavailableError(
                f"{self._storing} other bodies of more than {self._inline_bytes} bytes are stored or wait for that; "
                "try again in a second, or send less",
                code="too_many_long_bodies",
                retry_after_seconds=1,
                retryable=True,
            )
        self._storing += 1
        body = request.body
        try:
            async with self._slots:
                split = await asyncio.to_thread(split_body, body)
                left = len(body if split is None else split[0])
                if split is None or left > self._inline_bytes:
                    raise TooLargeError(
                        f"the body has {left} bytes without its images and the like, the limit is "
                        f"{self._inline_bytes}; send less, or raise SAGE_GATEWAY_INLINE_BODY_BYTES"
                    )
                parts = split[1]
                await self._store.write(parts.object_id, parts.data, request.timeout_seconds + GRACE_SECONDS)
                return split
        finally:
            self._storing -= 1

    async def _remove_after(self, reply: Reply, object_id: str) -> None:
        await reply.until_ended()
        await self._store.remove(object_id)

    def _remove(self, removal: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(removal)
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)
