"""The data plane: protobuf batches on core NATS, coalesced per event-loop tick.

Messages for one subject that arise in the same tick leave as one NATS message. There is no timer, so an idle
system adds no delay and a busy one amortises the cost of a hop (docs/adr/0001). What may wait, as the later tokens of a
stream may, leaves once in ``MAY_WAIT_SECONDS`` for all streams together (docs/adr/0082).

Delivery is at most once. NATS answers at once when a subject has no subscriber; a sender that registers a
``no responders`` callback gets its messages back then.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from sage_common.errors import TooLargeError
from sage_common.logging import get_logger
from sage_platform.background import keep_running
from sage_platform.identity_subjects import identity_of
from sage_platform.protobuf_framing import frame_items

if TYPE_CHECKING:
    from sage_platform.tracing.tracer import Tracer

log = get_logger(__name__)

# Batches are split here: large enough to amortise a hop, small enough to keep other traffic moving.
SOFT_BATCH_BYTES = 256 * 1024
# Room for the NATS protocol line and headers below the server's max_payload.
ENVELOPE_BYTES = 4 * 1024
# Sent batches that are kept for the "no responders" answer, which comes within one round trip.
REMEMBERED_BATCHES = 4096
REMEMBERED_BYTES = 4 * 1024 * 1024
PENDING_BYTES_LIMIT = 512 * 1024 * 1024
# What may wait leaves at once after a pause of as long.
MAY_WAIT_SECONDS = 0.004


class Message(Protocol):
    """What the ring needs of a protobuf message."""

    def SerializeToString(self) -> bytes: ...  # noqa: N802 - protobuf's name


T = TypeVar("T")
NoResponders = Callable[[str, Sequence[bytes]], None]


class Ring:
    """Sends and receives batches over one NATS connection.

    A batch type is any message whose field 1 is ``repeated Item items``; the ring writes that framing itself,
    so an item is serialised once.

    Attributes:
        tracer: makes the spans of what travels here, for its participants; None while nothing is traced.
    """

    def __init__(self, connection: Client) -> None:
        self.tracer: Tracer | None = None
        self._connection = connection
        # No subject is in both: what may wait leaves with what may not.
        self._outbox: dict[str, list[bytes]] = {}
        self._waiting: dict[str, list[bytes]] = {}
        # Runs from when something that may wait has left.
        self._tick: asyncio.TimerHandle | None = None
        self._singles: list[tuple[str, bytes]] = []
        self._wake: asyncio.Event = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._no_responders: dict[str, NoResponders] = {}
        self._remembered: OrderedDict[int, tuple[str, list[bytes]]] = OrderedDict()
        self._remembered_bytes = 0
        self._batch_number = 0
        self._inbox = ""
        self._closed = False

    @property
    def connection(self) -> Client:
        """The NATS connection, for KV and JetStream."""
        return self._connection

    @property
    def identity(self) -> str:
        """Whose connection it is, in a mesh where each hears its own only; empty elsewhere."""
        return identity_of(self._connection)

    @property
    def max_item_bytes(self) -> int:
        """Largest serialised item that the server takes."""
        return int(self._connection.max_payload) - ENVELOPE_BYTES

    async def start(self) -> None:
        """Begin sending. Must be awaited before ``send`` has an effect."""
        self._inbox = self._connection.new_inbox()
        await self._connection.subscribe(f"{self._inbox}.*", cb=self._on_answer)
        self._sender = keep_running(self._send_forever, name="ring-sender")

    async def close(self) -> None:
        """Send what is pending, then stop. The connection stays open."""
        if self._closed:
            return
        self._closed = True
        self._end_waiting()
        if self._tick is not None:
            self._tick.cancel()
        self._wake.set()
        if self._sender:
            await self._sender

    def send(self, subject: str, message: Message) -> None:
        """Queue ``message`` for ``subject``; it leaves at the end of this tick.

        Raises:
            TooLargeError: the message can never fit the server's limit.
        """
        self.send_item(subject, message.SerializeToString())

    def send_item(self, subject: str, item: bytes, *, may_wait: bool = False) -> None:
        """Queue a message that is serialised already.

        Args:
            may_wait: whether it may leave up to ``MAY_WAIT_SECONDS`` later, where something that may wait left less
                than as long ago. It never leaves after what is sent later to the same subject.

        Raises:
            TooLargeError: like ``send``.
        """
        if len(item) > self.max_item_bytes:
            raise TooLargeError(
                f"a message of {len(item)} bytes is over the mesh's limit of {self.max_item_bytes} bytes; "
                "send less, or raise max_payload of the NATS server"
            )
        box = self._outbox.get(subject)
        if box is not None:
            box.append(item)
            return
        box = self._waiting.get(subject)
        if may_wait and self._tick is not None:
            if box is None:
                self._waiting[subject] = [item]
            else:
                box.append(item)
            return
        if box is None:
            self._outbox[subject] = [item]
        else:
            del self._waiting[subject]
            box.append(item)
            self._outbox[subject] = box
        if may_wait:
            self._tick = asyncio.get_running_loop().call_later(MAY_WAIT_SECONDS, self._on_tick)
        self._wake.set()

    def _on_tick(self) -> None:
        self._tick = None
        if self._waiting and not self._closed:
            self._tick = asyncio.get_running_loop().call_later(MAY_WAIT_SECONDS, self._on_tick)
            self._end_waiting()

    def _end_waiting(self) -> None:
        self._outbox |= self._waiting
        self._waiting = {}
        self._wake.set()

    def send_unbatched(self, subject: str, message: Message) -> None:
        """Queue a message that is no batch (a heartbeat); it leaves at the end of this tick, after the batches."""
        self._singles.append((subject, message.SerializeToString()))
        self._wake.set()

    def on_no_responders(self, subject: str, callback: NoResponders | None) -> None:
        """Call ``callback`` with the serialised items sent to ``subject`` when it has no subscriber."""
        if callback is None:
            self._no_responders.pop(subject, None)
        else:
            self._no_responders[subject] = callback

    async def subscribe(
        self,
        subject: str,
        batch_type: type[Any],
        handler: Callable[[Sequence[Any]], None],
        *,
        queue: str = "",
    ) -> Subscription:
        """Call ``handler`` with the items of each batch on ``subject``.

        The handler is synchronous so that what it sends in answer to one batch leaves as one batch; it starts
        tasks for anything that waits. An exception in it is logged and the subscription goes on.
        """

        async def on_message(message: Msg) -> None:
            try:
                items = batch_type.FromString(message.data).items
            except Exception as error:
                log.error("unreadable batch dropped", subject=subject, bytes=len(message.data), error=str(error))
                return
            try:
                handler(items)
            except Exception:
                log.exception("batch handler failed", subject=subject, items=len(items))

        return await self._connection.subscribe(
            subject, queue=queue, cb=on_message, pending_bytes_limit=PENDING_BYTES_LIMIT
        )

    async def flush(self) -> None:
        """Wait until everything sent so far has reached the server."""
        self._end_waiting()
        while self._outbox or self._singles:  # noqa: ASYNC110 - one turn of the loop empties both
            await asyncio.sleep(0)
        await self._connection.flush()

    async def _send_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            outbox, self._outbox = self._outbox, {}
            for subject, items in outbox.items():
                for batch in _split(items):
                    await self._publish(subject, batch)
            singles, self._singles = self._singles, []
            for subject, payload in singles:
                await self._publish_raw(subject, payload, "")
            if self._closed and not self._outbox:
                return

    async def _publish(self, subject: str, items: list[bytes]) -> None:
        callback = self._no_responders.get(subject)
        reply = ""
        if callback is not None:
            self._batch_number += 1
            reply = f"{self._inbox}.{self._batch_number}"
            self._remembered[self._batch_number] = (subject, items)
            self._remembered_bytes += sum(map(len, items))
            while len(self._remembered) > REMEMBERED_BATCHES or self._remembered_bytes > REMEMBERED_BYTES:
                if len(self._remembered) == 1:
                    break  # the one just sent is never forgotten, however large
                self._forget(next(iter(self._remembered)))
        sent = await self._publish_raw(subject, frame_items(items), reply)
        if not sent and callback is not None:
            self._forget(self._batch_number)
            callback(subject, items)

    def _forget(self, number: int) -> tuple[str, list[bytes]] | None:
        remembered = self._remembered.pop(number, None)
        if remembered is not None:
            self._remembered_bytes -= sum(map(len, remembered[1]))
        return remembered

    async def _publish_raw(self, subject: str, payload: bytes, reply: str) -> bool:
        try:
            await self._connection.publish(subject, payload, reply=reply)
        except NatsError as error:
            log.warning("message not sent", subject=subject, bytes=len(payload), error=str(error) or repr(error))
            return False
        return True

    async def _on_answer(self, message: Msg) -> None:
        number = int(message.subject.rpartition(".")[2])
        remembered = self._forget(number)
        if remembered is None or (message.headers or {}).get("Status") != "503":
            return
        subject, items = remembered
        callback = self._no_responders.get(subject)
        if callback is not None:
            callback(subject, items)


def _split(items: list[bytes]) -> list[list[bytes]]:
    """Cut ``items`` into batches of about SOFT_BATCH_BYTES; an item larger than that is a batch of its own."""
    if sum(map(len, items)) <= SOFT_BATCH_BYTES:
        return [items]
    batches: list[list[bytes]] = [[]]
    size = 0
    for item in items:
        if batches[-1] and size + len(item) > SOFT_BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(item)
        size += len(item)
    return batches
