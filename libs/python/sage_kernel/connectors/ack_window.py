"""Publishing to JetStream many messages at a time, each until its acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Mapping
from typing import NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from sage_common.errors import SageError, TooLargeError, UnavailableError, UnprocessableError, describe

MOST_IN_FLIGHT = 1024
_ACK_SECONDS = 5.0
# A full or closed stream, which may have room again (err_code of JetStream).
_MAY_PASS = frozenset({10008, 10023, 10035, 10047, 10077, 10084, 10119})


class Publication(NamedTuple):
    """A message to publish."""

    subject: str
    payload: bytes
    headers: dict[str, str] | None


class Ack(NamedTuple):
    """Where a message was stored: its number in the stream, the first one's where it was there already."""

    stream: str
    sequence: int


class AckWindow:
    """Keeps a bounded number of publications on their way."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = f"{client._inbox_prefix.decode()}.{secrets.token_hex(11)}"
        self._subscription: Subscription | None = None
        self._waiting: dict[str, int] = {}
        self._stored: dict[int, Ack] = {}
        self._refusal: SageError | None = None
        self._changed = asyncio.Event()
        self._number = 0

    async def open(self) -> None:
        """Listen for acknowledgements. Raises UnavailableError."""
        try:
            self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._on_ack)
        except (nats.errors.Error, OSError) as error:
            raise UnavailableError(f"NATS cannot be reached ({describe(error)})") from None

    async def publish(self, messages: Mapping[int, Publication], stored: dict[int, Ack]) -> None:
        """Publish ``messages`` in their order, and put their acknowledgements into ``stored`` as they come.

        Raises:
            UnavailableError: some were not acknowledged, though perhaps stored; those with an id may be sent again.
            UnprocessableError, TooLargeError: the server takes one of them at no time.
        """
        self._waiting.clear()
        self._stored, self._refusal = stored, None
        try:
            for index, message in messages.items():
                if len(self._waiting) >= MOST_IN_FLIGHT:
                    await self._wait_for(MOST_IN_FLIGHT // 2)
                self._number += 1
                token = str(self._number)
                self._waiting[token] = index
                try:
                    await self._client.publish(
                        message.subject, message.payload, reply=f"{self._inbox}.{token}", headers=message.headers
                    )
                except nats.errors.MaxPayloadError:
                    raise TooLargeError(too_large(message, self._client.max_payload)) from None
                except (nats.errors.Error, OSError) as error:
                    raise UnavailableError(f"NATS cannot be reached ({describe(error)})") from None
            await self._wait_for(0)
        finally:
            self._waiting.clear()
        if self._refusal is not None:
            raise self._refusal

    async def close(self) -> None:
        """Stop listening."""
        if self._subscription is not None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._subscription.unsubscribe()

    async def _wait_for(self, left: int) -> None:
        while len(self._waiting) > left:
            self._changed.clear()
            count = len(self._waiting)
            try:
                await asyncio.wait_for(self._changed.wait(), _ACK_SECONDS)
            except asyncio.TimeoutError:
                raise UnavailableError(f"NATS has not acknowledged {count} messages in {_ACK_SECONDS:g} s") from None

    async def _on_ack(self, message: Msg) -> None:
        index = self._waiting.pop(message.subject.rpartition(".")[2], None)
        if index is None:
            return  # of an earlier attempt
        answer = _read(message)
        if isinstance(answer, SageError):
            self._refusal = self._refusal or answer
        else:
            self._stored[index] = answer
        self._changed.set()


def too_large(message: Publication, limit: int) -> str:
    """Return what to say of a message that is larger than the server takes."""
    return (
        f"a message of {len(message.payload)} bytes for {message.subject!r} is over the server's limit of {limit}; "
        "choose fewer 'fields', or send a reference"
    )


def _read(message: Msg) -> Ack | SageError:
    if message.headers is not None and message.headers.get("Status") == "503":
        return UnavailableError("no stream stores the subject now; make one, or correct the subject", code="no_stream")
    answer = json.loads(message.data)
    error = answer.get("error")
    if not error:
        return Ack(str(answer["stream"]), int(answer["seq"]))
    text = f"the stream refuses the message: {error.get('description')} (JetStream's error {error.get('err_code')})"
    if error.get("err_code") in _MAY_PASS or error.get("code") == 503:
        return UnavailableError(text)
    return UnprocessableError(text)
