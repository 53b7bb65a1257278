"""Reading a stream of JetStream in order, from a sequence number on, without acknowledgements.

An ephemeral pull consumer with one request open at a time. Nothing is acknowledged: where to go on is the reader's own
to keep, and a consumer that is lost is made again behind the last message.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Sequence
from typing import NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from sage_common.errors import NotFoundError, UnavailableError, describe
from sage_kernel.connectors.jetstream import ask

_PULL_MESSAGES = 10_000
_PULL_BYTES = 16 * 1024 * 1024
_EXPIRES_SECONDS = 30
_HEARTBEAT_SECONDS = 5
# The server forgets a consumer that nobody asks for this long.
_INACTIVE_SECONDS = 120


class StreamMessage(NamedTuple):
    """A message of a stream.

    Attributes:
        sequence: its number in the stream.
        pending: how many further ones there were behind it when it was sent.
    """

    sequence: int
    pending: int
    data: bytes
    headers: dict[str, str] | None


class ConsumerLostError(Exception):
    """The server no longer serves this reader; open another one."""


class StreamReader:
    """One consumer.

    Args:
        subjects: only messages of these; they may have wildcards, and overlap nowhere.
        first: the least sequence number wanted.
        headers_only: leave the data of messages out.
    """

    def __init__(
        self, client: Client, stream: str, subjects: Sequence[str], first: int, *, headers_only: bool = False
    ) -> None:
        self._client = client
        self._stream = stream
        self._subjects = list(subjects)
        self._first = first
        self._headers_only = headers_only
        self._consumer = f"sage-{secrets.token_hex(8)}"
        self._inbox = f"{client._inbox_prefix.decode()}.{secrets.token_hex(11)}"
        self._subscription: Subscription | None = None
        self._arrived: list[StreamMessage] = []
        self._arrived_bytes = 0
        self._news = asyncio.Event()
        self._delivered = 0
        self._pull_left = 0
        self._pull_number = 0
        self._pull_bytes = _PULL_BYTES
        self._lost = ""
        self._reconnects = client.stats["reconnects"]

    async def open(self) -> int:
        """Make the consumer, and return how many messages it has to give. Raises as ``ask`` does."""
        self._subscription = await self._client.subscribe(
            f"{self._inbox}.*", cb=self._on_message, pending_msgs_limit=0, pending_bytes_limit=0
        )
        config = {
            "name": self._consumer,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": max(1, self._first),
            "ack_policy": "none",
            "filter_subjects": self._subjects,
            "inactive_threshold": _INACTIVE_SECONDS * 10**9,
            "mem_storage": True,
            "num_replicas": 1,
            "headers_only": self._headers_only,
        }
        answer = await ask(
            self._client,
            f"CONSUMER.CREATE.{self._stream}.{self._consumer}",
            {"stream_name": self._stream, "config": config, "action": "create"},
        )
        await self._pull()
        return int(answer["num_pending"])

    async def fetch(self, timeout_seconds: float, most: int = _PULL_MESSAGES) -> list[StreamMessage]:
        """Return the messages that have come, in order and ``most`` at most; empty where none came in time.

        Raises:
            ConsumerLostError: a message may have been missed.
        """
        if not self._arrived:
            self._news.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), timeout_seconds)
        if self._client.stats["reconnects"] != self._reconnects:
            raise ConsumerLostError("the connection was lost")
        arrived, self._arrived = self._arrived[:most], self._arrived[most:]
        self._arrived_bytes -= sum(len(message.data) for message in arrived)
        if self._lost and not arrived:
            raise ConsumerLostError(self._lost)
        if self._pull_left <= 0 and not self._lost:
            await self._pull()
        return arrived

    async def has_caught_up(self) -> bool:
        """Return whether every message that the stream has for this reader has come.

        Raises:
            ConsumerLostError: the server does not know the consumer, or has sent more than came.
        """
        try:
            info = await ask(self._client, f"CONSUMER.INFO.{self._stream}.{self._consumer}")
        except NotFoundError as error:
            raise ConsumerLostError(error.message) from None
        if int(info["delivered"]["consumer_seq"]) > self._delivered and not self._arrived:
            raise ConsumerLostError("messages were sent that did not come")
        return int(info["num_pending"]) == 0 and not self._arrived

    async def close(self) -> None:
        """Take the consumer away, if the server can be asked."""
        # Where that fails the server forgets it by itself.
        with contextlib.suppress(nats.errors.Error, OSError):
            if self._subscription is not None:
                await self._subscription.unsubscribe()
            if self._client.is_connected:
                await self._client.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}")

    async def _pull(self) -> None:
        self._pull_number += 1
        self._pull_left = _PULL_MESSAGES
        request = {
            "batch": _PULL_MESSAGES,
            "max_bytes": self._pull_bytes,
            "expires": _EXPIRES_SECONDS * 10**9,
            "idle_heartbeat": _HEARTBEAT_SECONDS * 10**9,
        }
        try:
            await self._client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
                json.dumps(request).encode(),
                reply=f"{self._inbox}.{self._pull_number}",
            )
        except (nats.errors.Error, OSError) as error:
            raise UnavailableError(f"NATS cannot be reached ({describe(error)})") from None

    async def _on_message(self, message: Msg) -> None:
        headers = message.headers
        if headers is not None and "Status" in headers and not message.data:
            await self._on_status(message, headers)
            return
        # $JS.ACK.<stream>.<consumer>.<times>.<stream sequence>.<consumer sequence>.<time>.<pending>, with a domain and
        # an account before the stream and a token behind on servers that have them.
        tokens = message.reply.split(".")
        at = 5 if len(tokens) == 9 else 7
        self._delivered += 1
        if int(tokens[at + 1]) != self._delivered:
            self._lose(f"message {self._delivered} of the consumer did not come")
        if self._lost:
            return
        self._pull_left -= 1
        self._arrived.append(StreamMessage(int(tokens[at]), int(tokens[at + 3]), message.data, headers))
        self._arrived_bytes += len(message.data)
        if self._pull_left == 0 and self._arrived_bytes < _PULL_BYTES and len(self._arrived) <= _PULL_MESSAGES:
            await self._pull()
        self._news.set()

    async def _on_status(self, message: Msg, headers: dict[str, str]) -> None:
        status = headers["Status"]
        if status == "100" or not message.subject.endswith(f".{self._pull_number}"):
            return  # a heartbeat, or the end of an older request
        description = headers.get("Description", "")
        ends = status in ("404", "408") or "MaxBytes" in description or "Batch Completed" in description
        if not ends:
            self._lose(f"{status} {description}".strip())
            return
        if "MaxBytes" in description and self._pull_left == _PULL_MESSAGES:
            self._pull_bytes *= 2  # the next message alone is larger
        self._pull_left = 0
        if self._arrived_bytes < _PULL_BYTES and len(self._arrived) <= _PULL_MESSAGES:
            await self._pull()
        self._news.set()

    def _lose(self, why: str) -> None:
        self._lost = self._lost or why
        self._news.set()
