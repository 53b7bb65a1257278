"""Usage events summed by hour: exactly once, whoever sums and however often it starts over.

One gateway at a time reads the stream from where the last one stopped. A record of an hour says up to which message of
the stream it was summed, so a message that is read again changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from sage_common.errors import describe
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_common.usage import UsageEvent, UsageGroup, UsageSum, summed
from sage_gateway.tenancy.usage_journal import read_events
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.kv import decoded_or_none, keys_of, open_bucket

log = get_logger(__name__)

KEPT_SECONDS = 400 * 86_400.0
LOOK_SECONDS = 0.5
FETCH_MESSAGES = 500
TOGETHER_SECONDS = 1.0
FETCH_SECONDS = 1.0
READ_TOGETHER = 64
POSITION = "position"


class UsageSums:
    """Sums while it may, and reads the sums of all gateways.

    Args:
        may_sum: whether this gateway is the one that sums now.
    """

    def __init__(self, js: JetStreamContext, may_sum: Callable[[], bool]) -> None:
        self._js = js
        self._may_sum = may_sum
        self._bucket: KeyValue | None = None
        self._summing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to sum. Raises NatsError or TimeoutError."""
        self._bucket = await open_bucket(self._js, subjects.BUCKET_USAGE, ttl_seconds=KEPT_SECONDS)
        self._summing = keep_running(self._sum_forever, name="usage-sums")

    async def stop(self) -> None:
        """Stop summing."""
        if self._summing is not None:
            await end_tasks(self._summing)

    async def read(self, tenant: str = "", since_unix_seconds: float = 0.0) -> dict[UsageGroup, UsageSum]:
        """Return the sums of a tenant, or of all. Raises NatsError or TimeoutError."""
        bucket = self._bucket
        if bucket is None:
            raise asyncio.TimeoutError("the sums could not be opened yet")
        first_hour = since_unix_seconds - since_unix_seconds % 3_600
        keys = [
            key
            for key in await keys_of(bucket, f"*.{subjects.token(tenant)}" if tenant else "*.*")
            if float(key.partition(".")[0]) >= first_hour
        ]
        sums: dict[UsageGroup, UsageSum] = {}
        for first in range(0, len(keys), READ_TOGETHER):
            together = keys[first : first + READ_TOGETHER]
            for groups in await asyncio.gather(*(self._read(bucket, key) for key in together)):
                sums.update(groups)
        return sums

    async def _sum_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._may_sum():
                continue
            try:
                await self._sum_while_first()
            except (NatsError, asyncio.TimeoutError) as error:
                log.warning("usage could not be summed yet", error=describe(error))

    async def _sum_while_first(self) -> None:
        assert self._bucket is not None
        position, revision = await self._position()
        reading = await self._js.pull_subscribe(
            subjects.USAGE_ALL,
            stream=subjects.USAGE_STREAM,
            config=ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=position + 1,
                ack_policy=AckPolicy.NONE,
                inactive_threshold=60.0,
            ),
        )
        try:
            while self._may_sum():
                try:
                    messages = await reading.fetch(FETCH_MESSAGES, timeout=FETCH_SECONDS)
                except asyncio.TimeoutError:
                    continue
                if not messages:
                    continue
                events: dict[int, list[UsageEvent]] = {}
                for message in messages:
                    sequence = message.metadata.sequence.stream
                    read = decoded_or_none(subjects.USAGE_STREAM, message.subject, message.data, read_events)
                    events[sequence] = read or []
                await self._add(events)
                revision = await self._bucket.update(POSITION, b"%d" % max(events), last=revision)
                if len(messages) < FETCH_MESSAGES:
                    # Many messages cost hardly more than one.
                    await asyncio.sleep(TOGETHER_SECONDS)
        except KeyWrongLastSequenceError:
            log.info("another gateway sums usage now")
        finally:
            await reading.unsubscribe()

    async def _position(self) -> tuple[int, int]:
        assert self._bucket is not None
        try:
            entry = await self._bucket.get(POSITION)
        except KeyNotFoundError:
            return 0, 0
        return int(entry.value or b"0"), int(entry.revision or 0)

    async def _add(self, events: Mapping[int, list[UsageEvent]]) -> None:
        """Add the events of messages, by their place in the stream, to the records of their hours."""
        by_key: dict[str, dict[int, dict[UsageGroup, UsageSum]]] = {}
        for sequence, of_message in events.items():
            for group, total in summed(of_message).items():
                key = f"{group.hour}.{subjects.token(group.tenant)}"
                by_key.setdefault(key, {}).setdefault(sequence, {})[group] = total
        for key, by_sequence in by_key.items():
            await self._add_to(key, by_sequence)

    async def _add_to(self, key: str, by_sequence: Mapping[int, Mapping[UsageGroup, UsageSum]]) -> None:
        bucket = self._bucket
        assert bucket is not None
        try:
            entry = await bucket.get(key)
            through, groups = _decoded(entry.value or b"")
            revision = int(entry.revision or 0)
        except KeyNotFoundError:
            through, groups, revision = 0, {}, 0
        for sequence, sums in by_sequence.items():
            if sequence > through:
                for group, total in sums.items():
                    groups[group] = groups.get(group, UsageSum()).plus(total)
        await bucket.update(key, _encoded(max(through, *by_sequence), groups), last=revision)

    async def _read(self, bucket: KeyValue, key: str) -> dict[UsageGroup, UsageSum]:
        try:
            entry = await bucket.get(key)
        except KeyNotFoundError:
            return {}
        decoded = decoded_or_none(subjects.BUCKET_USAGE, key, entry.value or b"", _decoded)
        return {} if decoded is None else decoded[1]


def _encoded(through: int, groups: Mapping[UsageGroup, UsageSum]) -> bytes:
    rows = [
        [
            # Without a route as earlier versions write and read it.
            [group.hour, group.tenant, group.key_id, group.model, *([group.route] if group.route else [])],
            [
                total.requests,
                total.failed,
                total.prompt_tokens,
                total.cached_tokens,
                total.completion_tokens,
                total.nanos,
            ],
        ]
        for group, total in groups.items()
    ]
    return orjson.dumps({"through": through, "groups": rows})


def _decoded(data: bytes) -> tuple[int, dict[UsageGroup, UsageSum]]:
    value: dict[str, Any] = orjson.loads(data)
    return value["through"], {UsageGroup(*group): UsageSum(*total) for group, total in value["groups"]}
