"""What the simulated engine's prefix cache holds, told as vLLM tells it: msgpack over ZMQ, with a replay."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import zmq
import zmq.asyncio

from sage_benchmark.simulated_engine.prefix_cache import PrefixCache
from sage_benchmark.simulated_engine.prompt_tokens import block_token_ids
from sage_common.tasks import end_tasks

BATCHES_KEPT: Final = 10_000
_REPLAY_ENDS: Final = (-1).to_bytes(8, "big", signed=True)


class PublishedPrefixCache(PrefixCache):
    """A prefix cache that says what comes and goes.

    Args:
        on_event: gets each event, as vLLM has it.
    """

    __slots__ = ("_block_tokens", "_on_event")

    def __init__(self, block_tokens: int, on_event: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._block_tokens = block_tokens
        self._on_event = on_event

    def add(self, blocks: Sequence[int]) -> None:
        """The blocks have been computed."""
        held = self._blocks
        new = [place for place, block in enumerate(blocks) if block not in held]
        super().add(blocks)
        start = 0
        for end in range(1, len(new) + 1):
            if end == len(new) or new[end] != new[end - 1] + 1:
                self._stored(blocks, new[start], new[end - 1] + 1)
                start = end

    def trim(self, limit: int) -> None:
        """Forget the least recently used until at most ``limit`` blocks are left."""
        held, gone = self._blocks, []
        while len(held) > max(0, limit):
            gone.append(held.popitem(last=False)[0])
        if gone:
            self._on_event({"type": "BlockRemoved", "block_hashes": gone, "medium": "GPU", "group_idx": 0})

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        self._on_event({"type": "AllBlocksCleared"})

    def _stored(self, blocks: Sequence[int], first: int, until: int) -> None:
        size = self._block_tokens
        self._on_event(
            {
                "type": "BlockStored",
                "block_hashes": list(blocks[first:until]),
                "parent_block_hash": blocks[first - 1] if first else None,
                "token_ids": [token for block in blocks[first:until] for token in block_token_ids(block, size)],
                "block_size": size,
                "lora_id": None,
                "medium": "GPU",
                "lora_name": None,
                "group_idx": 0,
            }
        )


class EventPublisher:
    """Publishes events at a ZMQ address, those of one turn of the loop as one batch. ``start`` before use.

    Args:
        replay: address where what was published is repeated.
    """

    def __init__(self, address: str, replay: str) -> None:
        self._address, self._replay_address = address, replay
        self._context = zmq.asyncio.Context()
        self._events: list[dict[str, Any]] = []
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=BATCHES_KEPT)
        self._sequence = 0
        self._woken = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> None:
        """Bind. Raises ZMQError where an address cannot be bound."""
        publisher, replay = self._context.socket(zmq.PUB), self._context.socket(zmq.ROUTER)
        publisher.bind(self._address)
        replay.bind(self._replay_address)
        self._tasks = (
            asyncio.create_task(self._publish(publisher), name="kv-events"),
            asyncio.create_task(self._answer(replay), name="kv-events-replay"),
        )

    def add(self, event: dict[str, Any]) -> None:
        """Publish an event with the others of this turn of the loop."""
        self._events.append(event)
        self._woken.set()

    async def stop(self) -> None:
        """Stop publishing."""
        await end_tasks(*self._tasks)
        self._context.destroy(linger=0)

    async def _publish(self, publisher: zmq.asyncio.Socket) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            events, self._events = self._events, []
            payload = msgspec.msgpack.encode([time.time(), events, 0])
            number, self._sequence = self._sequence, self._sequence + 1
            self._kept.append((number, payload))
            await publisher.send_multipart([b"", number.to_bytes(8, "big"), payload])

    async def _answer(self, replay: zmq.asyncio.Socket) -> None:
        while True:
            client, _, start = await replay.recv_multipart()
            for number, payload in list(self._kept):
                if number >= int.from_bytes(start, "big"):
                    await replay.send_multipart([client, b"", b"", number.to_bytes(8, "big"), payload])
            await replay.send_multipart([client, b"", b"", _REPLAY_ENDS, b""])
