"""Posting records to an HTTP address, each with a key by which the receiver knows it again."""

from __future__ import annotations

import asyncio
import hashlib

import polars as pl

from sage_kernel.connectors.http_client import HttpClient
from sage_kernel.connectors.json_encoder import to_json_records
from sage_kernel.connectors.patience import Attempts
from sage_kernel.host_access import HostAccess
from sage_kernel.operator import State
from sage_kernel.template import Template

_JSON = "application/json"
IDEMPOTENCY_KEY = "Idempotency-Key"


class HttpSink:
    """Posts one JSON object a record, several at a time; each is answered before the next checkpoint.

    A restart posts again what came after the checkpoint: with an ``id`` under the same ``Idempotency-Key``, by which
    the receiver leaves it out.

    Args:
        id: template of the key; None sends none.
        fields: of the payload; empty for all.
        concurrency: most requests at once.
    """

    def __init__(
        self,
        url: str,
        identity: Template | None,
        fields: tuple[str, ...],
        concurrency: int,
        hosts: HostAccess,
        patience: Attempts,
    ) -> None:
        hosts.check(url)
        self._url = url
        self._id = identity
        self._fields = fields
        self._client = HttpClient(hosts, concurrency)
        self._slots = asyncio.Semaphore(concurrency)
        self._patience = patience

    async def write(self, frame: pl.DataFrame) -> None:
        """Post records. Raises the first refusal, when every request has been answered."""
        payloads = to_json_records(frame.select(self._fields) if self._fields else frame)
        if self._id is None:
            keys: list[str | None] = [None] * len(payloads)
        else:
            keys = [self._id.render(record) for record in frame.select(self._id.fields).iter_rows(named=True)]
        outcomes = await asyncio.gather(
            *(self._post(payload, key) for payload, key in zip(payloads, keys, strict=True)), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def flush(self) -> State:
        """Everything was answered when it was written."""
        return State()

    async def restore(self, state: State) -> None:
        """What was posted stays; the receiver knows it by its key."""

    async def publish(self) -> None:
        """There is nothing to show beside."""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _post(self, payload: bytes, key: str | None) -> None:
        headers = {"Content-Type": _JSON}
        if key is not None:
            # A header takes few characters; a digest stands for the others.
            plain = key if key.isascii() and key.isprintable() and 0 < len(key) <= 255 else None
            headers[IDEMPOTENCY_KEY] = plain or hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()

        async def attempt() -> None:
            async with self._client.request("POST", self._url, headers=headers, data=payload) as response:
                await response.read()

        async with self._slots:
            await self._patience.attempt(attempt)
