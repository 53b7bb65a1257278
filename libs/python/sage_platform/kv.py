"""JetStream key-value buckets, created on first use."""

from __future__ import annotations

from nats.js.api import KeyValueConfig, StorageType
from nats.js.client import JetStreamContext
from nats.js.errors import BadRequestError, BucketNotFoundError, NotFoundError
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
