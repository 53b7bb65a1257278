"""The records in which replicas keep limits together: read by a watcher, written by compare-and-set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from nats.js.client import JetStreamContext

from sage_common.clock import Clock
from sage_common.errors import UnavailableError
from sage_common.quota.account import Account, Holder
from sage_platform.followed_bucket import FollowedBucket, Stored
from sage_platform.kv import open_bucket

WRITE_SECONDS = 2.0
MOST_TRIES = 32

# The accounts of a tenant, by the name of their meter.
Accounts = Mapping[str, Account]


class QuotaRecords:
    """The accounts of all tenants in one bucket."""

    def __init__(self, js: JetStreamContext, bucket: str, clock: Clock) -> None:
        self._js = js
        self._name = bucket
        self._clock = clock
        self._bucket: FollowedBucket[Accounts] | None = None
        self._written: dict[str, Stored[Accounts]] = {}
        self._on_change: list[Callable[[str], None]] = []

    async def start(self) -> None:
        """Follow the records; may be called again where it has failed."""
        if self._bucket is None:
            opened = await open_bucket(self._js, self._name)
            self._bucket = FollowedBucket(opened, self._name, decoded, self._clock)
            self._bucket.on_change(self._changed)
            await self._bucket.start()
        await self._bucket.has_read()

    async def stop(self) -> None:
        """Stop following."""
        if self._bucket is not None:
            await self._bucket.stop()

    def reconnected(self) -> None:
        """Follow again; a bucket in memory may have been lost, and its revisions begin again."""
        self._written.clear()
        if self._bucket is not None:
            self._bucket.reconnected()

    def on_change(self, call: Callable[[str], None]) -> None:
        """Call ``call`` with the key of every record that has changed."""
        self._on_change.append(call)

    def keys(self) -> list[str]:
        """The keys of all records; ``subjects.token`` of a tenant makes one."""
        return [] if self._bucket is None else list(self._bucket.latest)

    def latest(self, key: str) -> Accounts:
        """Return a tenant's accounts as they were last read or written."""
        stored = self._latest(key)
        return {} if stored is None else stored.value

    async def change(self, key: str, edit: Callable[[Accounts], Accounts]) -> Accounts:
        """Replace a tenant's accounts by what ``edit`` makes of them; return those written.

        ``edit`` is called again where another replica was faster.

        Raises:
            UnavailableError: too many others write the same record.
            NatsError, asyncio.TimeoutError: nobody knows whether they were written.
        """
        bucket = self._bucket
        if bucket is None:
            raise asyncio.TimeoutError("the records of limits could not be opened yet")
        stored = self._latest(key)
        for _ in range(MOST_TRIES):
            accounts = edit({} if stored is None else stored.value)
            revision = 0 if stored is None else stored.revision
            write = bucket.write(key, accounts, encoded(accounts), revision)
            written = await asyncio.wait_for(write, WRITE_SECONDS)
            if written is not None:
                self._written[key] = written
                return accounts
            stored = await asyncio.wait_for(bucket.get(key), WRITE_SECONDS)
        raise UnavailableError(
            f"the limits of a tenant were changed by others {MOST_TRIES} times in a row; try again",
            code="limits_contended",
            retry_after_seconds=1,
        )

    def _latest(self, key: str) -> Stored[Accounts] | None:
        read = None if self._bucket is None else self._bucket.latest.get(key)
        written = self._written.get(key)
        if read is None or written is None:
            return read or written
        return read if read.revision >= written.revision else written

    def _changed(self, key: str) -> None:
        for call in self._on_change:
            call(key)


def encoded(accounts: Accounts) -> bytes:
    """Return accounts as they are stored."""
    value = {
        name: {
            "spent": account.spent,
            "at": account.at,
            "holders": {
                replica: [holder.held, holder.reserved, holder.settled, holder.wanted]
                for replica, holder in account.holders.items()
            },
        }
        for name, account in accounts.items()
    }
    return orjson.dumps(value)


def decoded(data: bytes) -> Accounts:
    """Return stored accounts. Raises ValueError, KeyError or TypeError for something else."""
    value: dict[str, dict[str, Any]] = orjson.loads(data)
    return {
        name: Account(
            account["spent"],
            float(account["at"]),
            {replica: Holder(*map(int, numbers)) for replica, numbers in account["holders"].items()},
        )
        for name, account in value.items()
    }
