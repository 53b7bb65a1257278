"""Orders at a gateway that may be given again: files, batches, jobs. One that dies is left for another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson

from sage_benchmark.soak.checked_answers import SHOWN, Gateways

CALL_SECONDS = 30.0
AGAIN_SECONDS = 0.5
# What says that it can be tried again: NATS chooses who keeps a stream, for one.
RETRYABLE = frozenset({429, 502, 503, 504})


class CallFailedError(Exception):
    """No gateway has done what was asked for, and will not."""


class CallBrokenError(Exception):
    """Whether a gateway has done what was asked for is not known, or it asks to be asked again."""


class ManagementCalls:
    """Calls gateways in turn.

    Args:
        tenant: in whose name.

    Attributes:
        broken: calls whose connection broke.
        refused: calls that a gateway asked to make again, by what it said.
    """

    def __init__(self, gateways: Gateways, tenant: str) -> None:
        self._gateways = gateways
        self._headers = {"x-sage-tenant": tenant}
        self._turn = 0
        self.broken = 0
        self.refused: dict[str, int] = {}

    async def json(self, method: str, path: str, body: Callable[[], Any] | None = None, media: str = "") -> Any:
        """Return the answer as JSON, see ``content``."""
        return orjson.loads(await self.content(method, path, body, media))

    async def content(self, method: str, path: str, body: Callable[[], Any] | None = None, media: str = "") -> bytes:
        """Call until a gateway answers with success: for what may be done twice.

        Args:
            body: makes the body, once more for each call.
            media: type of the body.

        Raises:
            CallFailedError: refused for good.
        """
        while True:
            try:
                return await self.once(method, path, body() if body else None, media)
            except CallBrokenError:
                await asyncio.sleep(AGAIN_SECONDS)

    async def once(self, method: str, path: str, body: Any, media: str = "") -> bytes:
        """Call the gateway whose turn it is, and the next one the next time unless it answers with success.

        Raises:
            CallBrokenError: it may or may not have been done.
            CallFailedError: refused for good.
        """
        headers = {**self._headers, **({"content-type": media} if media else {})}
        url = self._gateways.urls[self._gateways.host(self._turn)] + path
        self._turn += 1
        try:
            limit = aiohttp.ClientTimeout(total=CALL_SECONDS)
            async with self._gateways.session.request(
                method, url, data=body, headers=headers, timeout=limit
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            self.broken += 1
            raise CallBrokenError(f"{method} {path}: {error!r}") from None
        if response.status < 300:
            self._turn -= 1
            return answer
        told = f"{response.status} {answer[:SHOWN].decode('utf-8', 'replace')}"
        if response.status not in RETRYABLE:
            raise CallFailedError(f"{method} {path}: {told}")
        self.refused[told] = self.refused.get(told, 0) + 1
        raise CallBrokenError(f"{method} {path}: {told}")
