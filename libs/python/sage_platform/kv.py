"""JetStream key-value buckets, created on first use, and reading them.

What must survive a restart of the server is kept in files. What lives no longer than the processes that write it
(``subjects.MEMORY_BUCKETS``: leases, the registry) is kept in memory, so that a full disk does not touch it; such a
bucket is gone after a restart of the server, and is made again by whoever uses it first.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import fields
from typing import Any, TypeVar

import orjson
from nats.js.api import KeyValueConfig, StorageType
from nats.js.client import JetStreamContext
from nats.js.errors import BadRequestError, InvalidKeyError, KeyNotFoundError, NoStreamResponseError, NotFoundError
from nats.js.kv import KeyValue

from sage_common.logging import get_logger
from sage_platform import subjects
from sage_platform.identity_subjects import identity_of
from sage_platform.mesh_tls.nats_rights import may_make
from sage_platform.nats_cluster import copies_on
from sage_platform.streams import are_peers_away, keep_copies, make, until_made

log = get_logger(__name__)

# Records in memory are small and few; a writer gone wild must not take the server's memory.
MEMORY_BUCKET_BYTES = 64 * 1024 * 1024

# As annotations name them, which are text where ``annotations`` is imported from ``__future__``.
_PLAIN_TYPES: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "bool": bool}

T = TypeVar("T")


async def open_bucket(
    js: JetStreamContext, bucket: str, *, ttl_seconds: float | None = None, history: int = 1
) -> KeyValue:
    """Open ``bucket``, creating it when it is not there. Safe when several processes do it at once.

    A bucket of ``subjects.MEMORY_BUCKETS`` that an earlier version has made in files is made again in memory.

    Raises:
        nats.errors.Error, asyncio.TimeoutError: JetStream does not answer, or refuses.
    """
    in_memory = bucket in subjects.MEMORY_BUCKETS
    copies = copies_on(js._nc)
    config = KeyValueConfig(
        bucket=bucket,
        ttl=ttl_seconds,
        history=history,
        storage=StorageType.MEMORY if in_memory else StorageType.FILE,
        max_bytes=MEMORY_BUCKET_BYTES if in_memory else None,
        replicas=copies,
    )
    await _ensure(js, config)
    opened = await js.key_value(bucket)
    return _MemoryBucket(opened, config) if in_memory else opened


async def read_all(bucket: KeyValue) -> dict[str, bytes]:
    """Return every key of ``bucket`` with its value; keys that were deleted or have expired are not among them."""
    return {key: entry.value or b"" for key, entry in (await read_entries(bucket)).items()}


async def read_entries(bucket: KeyValue) -> dict[str, KeyValue.Entry]:
    """Return every key of ``bucket`` with its entry, which has the revision.

    Not by ``bucket.keys()``: it reads through a watch, which under load may say that it is complete before its first
    record has arrived.
    """
    entries: dict[str, KeyValue.Entry] = {}
    for key in await keys_of(bucket):
        try:
            entries[key] = await bucket.get(key)
        except KeyNotFoundError:
            continue  # deleted, or expired between the two calls
        except InvalidKeyError:
            log.warning("record skipped: its key is not one of a bucket", bucket=bucket._name, key=key[:200])
    return entries


async def keys_of(bucket: KeyValue, pattern: str = ">") -> list[str]:
    """Return the keys of ``bucket`` that match a pattern of NATS, those that were deleted among them."""
    prefix: str = bucket._pre
    try:
        stream = await bucket._js.stream_info(bucket._stream, subjects_filter=f"{prefix}{pattern}")
    except NotFoundError:
        if isinstance(bucket, _MemoryBucket):
            return []  # nothing has been written since the server was started again
        raise
    return [subject.removeprefix(prefix) for subject in stream.state.subjects or {}]


async def read_records(bucket: KeyValue, decode: Callable[[bytes], T]) -> dict[str, T]:
    """Return every key of ``bucket`` with its decoded value; what ``decode`` refuses is skipped."""
    decoded = {}
    for key, value in (await read_all(bucket)).items():
        record = decoded_or_none(bucket._name, key, value, decode)
        if record is not None:
            decoded[key] = record
    return decoded


def decoded_or_none(bucket: str, key: str, value: bytes, decode: Callable[[bytes], T]) -> T | None:
    """Return ``decode(value)``; None, with one line in the log, when it raises.

    Anybody who may write to a bucket may write anything, and a record that cannot be read must not keep the others from
    being read, nor end what watches the bucket.
    """
    try:
        return decode(value)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:300]
        log.warning("unreadable record skipped", bucket=bucket, key=key[:200], bytes=len(value), error=reason)
        return None


def record_fields(record_class: type[Any], value: bytes) -> dict[str, Any]:
    """Return what a JSON object holds for the fields of a dataclass; fields of a later version are left out.

    Raises:
        ValueError: it is no JSON object, or a field that is text, a number or a truth value holds something of another
            type.
    """
    record = orjson.loads(value)
    if not isinstance(record, dict):
        raise ValueError(f"it is of type {type(record).__name__}, not an object")
    given = {field.name: record[field.name] for field in fields(record_class) if field.name in record}
    for field in fields(record_class):
        kind = _PLAIN_TYPES.get(str(field.type))
        if kind is None or field.name not in given:
            continue
        found = given[field.name]
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
            raise ValueError(f"its {field.name} is {str(found)[:80]!r}, expected {field.type}")
    return given


async def created_unix_ms(bucket: KeyValue) -> int:
    """Return when the server made ``bucket``, in milliseconds since 1970-01-01 UTC."""
    created = (await bucket._js.stream_info(bucket._stream)).created
    return 0 if created is None else int(created.timestamp() * 1000)


async def purge_until(bucket: KeyValue, key: str, revision: int) -> None:
    """Remove every trace of a key up to a revision, the mark of its delete included; what was written later stays.

    Watches do not report it. Not by ``bucket.purge_deletes()``, which would remove what is written meanwhile too.
    """
    await bucket._js.purge_stream(bucket._stream, seq=revision + 1, subject=f"{bucket._pre}{key}")


class _MemoryBucket(KeyValue):
    """A bucket that is made again when the server has lost it."""

    def __init__(self, opened: KeyValue, config: KeyValueConfig) -> None:
        super().__init__(opened._name, opened._stream, opened._pre, opened._js, opened._direct)
        self._config = config

    async def put(self, key: str, value: bytes, validate_keys: bool = True) -> int:
        put = super().put
        return await self._in_bucket(lambda: put(key, value, validate_keys))

    async def delete(self, key: str, *arguments: Any, **options: Any) -> bool:
        delete = super().delete
        return await self._in_bucket(lambda: delete(key, *arguments, **options))

    async def watch(self, keys: Any, *arguments: Any, **options: Any) -> KeyValue.KeyWatcher:
        watch = super().watch
        return await self._in_bucket(lambda: watch(keys, *arguments, **options))

    async def _update(self, key: str, value: bytes, **options: Any) -> int:  # type: ignore[override]
        update = super()._update
        return await self._in_bucket(lambda: update(key, value, **options))

    async def _in_bucket(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await call()
        except (NoStreamResponseError, NotFoundError) as error:
            if isinstance(error, NoStreamResponseError) and copies_on(self._js._nc) > 1:
                # A cluster does not lose it; its servers choose who leads it.
                raise
            await _ensure(self._js, self._config)
            return await call()


async def _ensure(js: JetStreamContext, config: KeyValueConfig) -> None:
    """Make a bucket that is not there, or whose storage is of the other kind where nothing in it must survive."""
    stream = f"KV_{config.bucket}"
    try:
        found = (await js.stream_info(stream)).config
        if found.storage == config.storage:
            await keep_copies(js, found)
            return
        if config.storage is StorageType.FILE:
            log.warning("bucket is in memory, so NATS will lose it; another program made it", bucket=config.bucket)
            return
        log.info("bucket is made again in memory; an earlier version kept it in files", bucket=config.bucket)
        await js.delete_stream(stream)
    except NotFoundError:
        pass
    if not may_make(identity_of(js._nc), stream):
        await until_made(js, stream)
        return
    try:
        await make(stream, lambda: js.create_key_value(config))
    except BadRequestError as error:
        if are_peers_away(error):
            raise
        # Another process created it between the two calls; if not, this says what is wrong.
        await js.stream_info(stream)
