from __future__ import annotations

import asyncio

import pytest

from sage_kernel.operator import State
from sage_kernel.runtime.checkpointing import Checkpointer
from sage_kernel.state.checkpoint import Checkpoint


class OddError(Exception):
    """An error of a store that the kernel knows nothing of."""


class OddStore:
    def __init__(self) -> None:
        self.attempts = 0
        self.saved: list[Checkpoint] = []

    async def save(self, checkpoint: Checkpoint) -> None:
        self.attempts += 1
        if self.attempts == 1:
            raise OddError
        self.saved.append(checkpoint)


class Origin:
    def __init__(self) -> None:
        self.checkpointer: Checkpointer | None = None

    def request_barrier(self, checkpoint: int) -> None:
        assert self.checkpointer is not None
        self.checkpointer.node_finished("s", State())


async def test_whatever_a_store_raises_the_next_checkpoint_is_taken() -> None:
    store, origin = OddStore(), Origin()
    checkpointer = origin.checkpointer = Checkpointer(store, "hash", {"s": "source"})  # type: ignore[arg-type]
    checkpointer.add_origin(origin)  # type: ignore[arg-type]
    rounds = iter(range(3))

    async def sleep(_: float) -> None:
        if next(rounds, None) is None:
            raise asyncio.CancelledError
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        await checkpointer.run(1.0, sleep)
    assert [checkpoint.number for checkpoint in store.saved] == [2, 3]
