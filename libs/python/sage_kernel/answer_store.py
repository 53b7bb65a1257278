"""Answers of models, kept before they are given out: what is read again repeats the text, and is not paid for twice."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import orjson


class AnswerStore(Protocol):
    """Where answers are kept, by the hash of what was asked."""

    async def get(self, key: str, max_age_seconds: float | None) -> bytes | None:
        """Return an answer that is not older than that (None: of any age), or None."""
        ...

    async def put(self, key: str, answer: bytes) -> None:
        """Keep an answer. Raises OSError or SageError where that fails."""
        ...


def answer_key(scope: str, model: str | None, parameters: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a call, in hexadecimal.

    Args:
        scope: who may share the answer: empty for everyone, the id of a run for that run alone.
        parameters: the messages and every limit, as JSON values.
    """
    text = orjson.dumps([scope, model, parameters], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()


class SharedCalls:
    """Calls that are under way, by key: whoever asks the same meanwhile waits for the same answer."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[bytes]] = {}

    async def once(self, key: str, call: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return what ``call`` returns, or a call with this key that runs already. Each caller may be cancelled."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.ensure_future(_awaited(call))
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._running.values()):
            task.cancel()
        if self._running:
            await asyncio.wait(set(self._running.values()))

    def _forget(self, key: str, done: asyncio.Task[bytes]) -> None:
        self._running.pop(key, None)
        if not done.cancelled():
            done.exception()


async def _awaited(call: Callable[[], Awaitable[bytes]]) -> bytes:
    return await call()
