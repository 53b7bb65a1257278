"""Answers of models, kept before they are given out: what is read again repeats the text, and is not paid for twice."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import orjson

from sage_common.paths import private_dir

# Of one file. The oldest answers go first.
MAX_BYTES = 1 << 30
_PAGE_BYTES = 4096
_BUSY_SECONDS = 10.0


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


class FileAnswers:
    """Answers in one SQLite file, which several processes of a machine may share. Calls take turns in threads."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._connection: sqlite3.Connection | None = None
        self._turn = threading.Lock()

    async def get(self, key: str, max_age_seconds: float | None) -> bytes | None:
        """Return an answer, or None."""
        return await asyncio.to_thread(self._get, key, max_age_seconds)

    async def put(self, key: str, answer: bytes) -> None:
        """Keep an answer; a process that is killed after this has kept it. Raises OSError."""
        await asyncio.to_thread(self._put, key, answer)

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _get(self, key: str, max_age_seconds: float | None) -> bytes | None:
        oldest = 0.0 if max_age_seconds is None else self._now() - max_age_seconds
        with self._turn:
            row = self._open().execute("SELECT answer FROM answers WHERE key = ? AND at >= ?", (key, oldest)).fetchone()
        return row[0] if row else None

    def _put(self, key: str, answer: bytes) -> None:
        with self._turn:
            database = self._open()
            try:
                with database:
                    database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, answer, self._now()))
            except sqlite3.OperationalError as error:
                if "full" not in str(error):
                    raise OSError(f"answers cannot be kept in {self._path}: {error}") from error
                # The file has its greatest size: a tenth of it makes room.
                with database:
                    database.execute(
                        "DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY at LIMIT "
                        "(SELECT 1 + count(*) / 10 FROM answers))"
                    )
                    database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, answer, self._now()))

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            private_dir(self._path.parent)
            connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, check_same_thread=False)
            # With a write-ahead log a commit needs no fsync to outlive this process.
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"max_page_count={MAX_BYTES // _PAGE_BYTES}"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer BLOB, at REAL)")
            self._connection = connection
        return self._connection


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
