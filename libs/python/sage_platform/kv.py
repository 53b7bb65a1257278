"""JetStream key-value buckets, created on first use."""

from __future__ import annotations

from nats.js.api import KeyValueConfig, StorageType
from nats.js.client import JetStreamContext
from nats.js.errors import BadRequestError, BucketNotFoundError, KeyNotFoundError, NotFoundError
from nats.js.kv import KeyValue


async def open_bucket(
    js: JetStreamContext, bucket: str, *, ttl_seconds: float | None = None, history: int = 1
) -> KeyValue:
    """Open ``bucket``, creating it when it is not there. Safe when several processes do it at once.

    Buckets are kept in files: a revision must never run backwards, because epochs of leases are revisions.
    """
    try:
        return await js.key_value(bucket)
    except (BucketNotFoundError, NotFoundError):
        pass
    try:
        return await js.create_key_value(
            KeyValueConfig(bucket=bucket, ttl=ttl_seconds, history=history, storage=StorageType.FILE)
        )
    except BadRequestError:
        # Another process created it between the two calls.
        return await js.key_value(bucket)


async def read_all(bucket: KeyValue) -> dict[str, bytes]:
    """Return every key of ``bucket`` with its value; keys that were deleted or have expired are not among them."""
    return {key: entry.value or b"" for key, entry in (await read_entries(bucket)).items()}


async def read_entries(bucket: KeyValue) -> dict[str, KeyValue.Entry]:
    """Return every key of ``bucket`` with its entry, which has the revision.

    Not by ``bucket.keys()``: it reads through a watch, which under load may say that it is complete before its first
    record has arrived.
    """
    prefix: str = bucket._pre
    stream = await bucket._js.stream_info(bucket._stream, subjects_filter=f"{prefix}>")
    entries: dict[str, KeyValue.Entry] = {}
    for subject in stream.state.subjects or {}:
        key = subject.removeprefix(prefix)
        try:
            entries[key] = await bucket.get(key)
        except KeyNotFoundError:
            continue  # deleted, or expired between the two calls
    return entries


async def purge_until(bucket: KeyValue, key: str, revision: int) -> None:
    """Remove every trace of a key up to a revision, the mark of its delete included; what was written later stays.

    Watches do not report it. Not by ``bucket.purge_deletes()``, which would remove what is written meanwhile too.
    """
    await bucket._js.purge_stream(bucket._stream, seq=revision + 1, subject=f"{bucket._pre}{key}")
