"""Answers of models that all workers share: a task that goes on elsewhere repeats them and pays nothing twice."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

from nats.js.errors import KeyDeletedError, KeyNotFoundError
from nats.js.kv import KeyValue

from sage_common.logging import get_logger
from sage_platform.subjects import token

log = get_logger(__name__)

MAX_ANSWER_BYTES = 512 * 1024
_AT = struct.Struct("<d")


class KeptAnswers:
    """An ``AnswerStore`` in a key-value bucket; an answer goes when the bucket's TTL has passed.

    Errors of NATS are raised as they are: the task that meets one goes on from its checkpoint when NATS is back.

    Args:
        bucket: the bucket ``answers``.
        tenant: whose answers these are; nobody is given those of another.
        now: seconds since 1970-01-01 UTC.
    """

    def __init__(self, bucket: KeyValue, tenant: str, now: Callable[[], float] = time.time) -> None:
        self._bucket = bucket
        self._prefix = token(tenant)
        self._now = now

    async def get(self, key: str, max_age_seconds: float | None) -> bytes | None:
        """Return an answer, or None."""
        try:
            value = (await self._bucket.get(f"{self._prefix}.{key}")).value or b""
        except (KeyNotFoundError, KeyDeletedError):
            return None
        if len(value) < _AT.size:
            return None
        (at,) = _AT.unpack_from(value)
        if max_age_seconds is not None and at < self._now() - max_age_seconds:
            return None
        return value[_AT.size :]

    async def put(self, key: str, answer: bytes) -> None:
        """Keep an answer; one that is too long for a message is given out without."""
        if len(answer) > MAX_ANSWER_BYTES:
            log.warning("answer not kept: it is too long", bytes=len(answer), limit=MAX_ANSWER_BYTES)
            return
        await self._bucket.put(f"{self._prefix}.{key}", _AT.pack(self._now()) + answer)
