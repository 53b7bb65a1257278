"""The API keys that the mesh has issued, in a bucket that every service follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, replace

import orjson
from nats.js.client import JetStreamContext

from sage_common.api_keys import ApiKeys
from sage_common.errors import ConflictError, NotFoundError
from sage_common.issued_keys import IssuedKey, is_key_id, key_digest, new_key
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.followed_bucket import FollowedBucket
from sage_platform.kv import open_bucket, record_fields

log = get_logger(__name__)

# How long a start waits for the keys; they are waited for behind it then, and nobody is let in meanwhile.
FIRST_READ_SECONDS = 5.0


class IssuedKeyStore:
    """Makes, changes and lists keys, and keeps those of a service as they are in the mesh.

    Args:
        keys: of this service; told of every change.
        now: seconds since 1970-01-01 UTC.
    """

    def __init__(self, js: JetStreamContext, keys: ApiKeys, now: Callable[[], float] = time.time) -> None:
        self._js = js
        self._keys = keys
        self._now = now
        self._bucket: FollowedBucket[IssuedKey] | None = None
        self._opened = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._on_invalid: list[Callable[[str], None]] = []

    async def start(self) -> None:
        """Follow the keys; return once they have been read, or after a few seconds where NATS does not answer."""
        self._keys.await_issued()
        self._following = keep_running(self._follow, name="api-keys")
        try:
            await asyncio.wait_for(self._read(), FIRST_READ_SECONDS)
        except asyncio.TimeoutError:
            log.warning("the API keys could not be read from NATS yet; nobody is let in until they are")

    async def stop(self) -> None:
        """Stop following."""
        if self._following is not None:
            await end_tasks(self._following)
        if self._bucket is not None:
            await self._bucket.stop()

    def reconnected(self) -> None:
        """Read the keys again: the server may have lost the watcher."""
        if self._bucket is not None:
            self._bucket.reconnected()

    def on_invalid(self, call: Callable[[str], None]) -> None:
        """Call ``call`` with the id of every key that is revoked, or removed."""
        self._on_invalid.append(call)

    async def list_keys(self) -> list[IssuedKey]:
        """Return every key, the oldest first."""
        bucket = await self._read()
        return sorted((stored.value for stored in bucket.latest.values()), key=lambda key: (key.created_at, key.key_id))

    async def create(
        self, tenant: str, *, operator: bool = False, label: str = "", lifetime_seconds: float = 0.0
    ) -> tuple[IssuedKey, str]:
        """Make a key; return what is kept of it, and the key, which is not kept.

        Args:
            lifetime_seconds: after which it is not valid any more; 0 for no end.
        """
        key_id, key = new_key()
        now = self._now()
        issued = IssuedKey(
            key_id,
            key_digest(key),
            tenant,
            operator,
            label,
            created_at=now,
            expires_at=now + lifetime_seconds if lifetime_seconds else 0.0,
        )
        await self._write(issued, 0)
        return issued, key

    async def rotate(self, key_id: str, grace_seconds: float) -> tuple[IssuedKey, str]:
        """Make another key for the holder of a key, which is valid for ``grace_seconds`` more; return as ``create``.

        Raises:
            NotFoundError: no key has this id.
            ConflictError: it is not valid any more.
        """
        old, revision = await self._get(key_id)
        now = self._now()
        if reason := old.invalid_because(now):
            raise ConflictError(f"the key {key_id} {reason}; make another with `sage key create`")
        lifetime = old.expires_at - old.created_at if old.expires_at else 0.0
        made, key = await self.create(old.tenant, operator=old.operator, label=old.label, lifetime_seconds=lifetime)
        ends = now + grace_seconds
        ending = replace(old, expires_at=min(ends, old.expires_at or ends))
        await self._write(ending if grace_seconds else replace(old, revoked_at=now), revision)
        return made, key

    async def revoke(self, key_id: str, *, forget: bool = False) -> IssuedKey:
        """Make a key invalid from now on; return it.

        Args:
            forget: also remove what is kept of it. While any key is kept, every caller needs one.

        Raises:
            NotFoundError: no key has this id.
        """
        issued, revision = await self._get(key_id)
        if not issued.revoked_at:
            issued = replace(issued, revoked_at=self._now())
            if not forget:
                await self._write(issued, revision)
        if forget:
            await (await self._read()).remove(key_id)
        return issued

    async def _follow(self) -> None:
        bucket = self._bucket
        if bucket is None:
            opened = await open_bucket(self._js, subjects.BUCKET_KEYS)
            bucket = FollowedBucket(opened, subjects.BUCKET_KEYS, _decoded)
            bucket.on_change(self._changed)
            await bucket.start()
            self._bucket = bucket
        await bucket.has_read()
        self._tell()
        self._opened.set()

    async def _read(self) -> FollowedBucket[IssuedKey]:
        await self._opened.wait()
        assert self._bucket is not None
        return self._bucket

    async def _get(self, key_id: str) -> tuple[IssuedKey, int]:
        stored = await (await self._read()).get(key_id) if is_key_id(key_id) else None
        if stored is None:
            message = f"no API key has the id {key_id[:80]!r}; `sage key list` lists them"
            raise NotFoundError(message, code="no_such_key")
        return stored.value, stored.revision

    async def _write(self, key: IssuedKey, revision: int) -> None:
        bucket = await self._read()
        if await bucket.write(key.key_id, key, orjson.dumps(asdict(key)), revision) is None:
            raise ConflictError(f"the key {key.key_id} was changed at the same time; look at it, and try again")

    def _changed(self, key_id: str) -> None:
        # Until everything has been read, a key that is not among those read may still come.
        if not self._opened.is_set():
            return
        self._tell()
        assert self._bucket is not None
        stored = self._bucket.latest.get(key_id)
        if stored is None or stored.value.invalid_because(self._now()):
            for call in self._on_invalid:
                call(key_id)

    def _tell(self) -> None:
        assert self._bucket is not None
        self._keys.set_issued(stored.value for stored in self._bucket.latest.values())


def _decoded(data: bytes) -> IssuedKey:
    key = IssuedKey(**record_fields(IssuedKey, data))
    if not is_key_id(key.key_id) or not key.tenant:
        raise ValueError("it is no API key")
    return key
