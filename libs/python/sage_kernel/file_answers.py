"""Answers of models in a file of this machine."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sage_common.paths import private_dir

# Of one file. The oldest answers go first.
MAX_BYTES = 1 << 30
_PAGE_BYTES = 4096
_BUSY_SECONDS = 10.0
_MOST_TENTHS = 10
_REMOVE_A_TENTH = (
    "DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY at LIMIT "
    "(SELECT 1 + count(*) / 10 FROM answers))"
)


class _Put(NamedTuple):
    key: str
    answer: bytes
    kept: asyncio.Future[None]


class FileAnswers:
    """Answers in one SQLite file, which several processes of a machine may share. Calls take turns in threads.

    Answers that come while others are written are written together, in one transaction.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._connection: sqlite3.Connection | None = None
        self._turn = threading.Lock()
        self._waiting: list[_Put] = []
        self._writing: asyncio.Task[None] | None = None

    async def get(self, key: str, max_age_seconds: float | None) -> bytes | None:
        """Return an answer, or None."""
        return await asyncio.to_thread(self._get, key, max_age_seconds)

    async def put(self, key: str, answer: bytes) -> None:
        """Keep an answer; a process that is killed after this has kept it. Raises OSError."""
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append(_Put(key, answer, kept))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_waiting(), name="keep-answers")
        await kept

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    async def _write_waiting(self) -> None:
        while self._waiting:
            puts, self._waiting = self._waiting, []
            error: BaseException | None = None
            try:
                await asyncio.to_thread(self._put, [(put.key, put.answer) for put in puts])
            except (OSError, sqlite3.Error) as failure:
                error = failure
            for put in puts:
                if put.kept.done():
                    continue  # whoever waited for it was cancelled
                if error is None:
                    put.kept.set_result(None)
                else:
                    put.kept.set_exception(error)

    def _get(self, key: str, max_age_seconds: float | None) -> bytes | None:
        oldest = 0.0 if max_age_seconds is None else self._now() - max_age_seconds
        with self._turn:
            row = self._open().execute("SELECT answer FROM answers WHERE key = ? AND at >= ?", (key, oldest)).fetchone()
        return row[0] if row else None

    def _put(self, answers: Sequence[tuple[str, bytes]]) -> None:
        rows = [(key, answer, self._now()) for key, answer in answers]
        with self._turn:
            database = self._open()
            for tenths in range(_MOST_TENTHS + 1):
                try:
                    with database:
                        database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)
                    return
                except sqlite3.OperationalError as error:
                    if "full" not in str(error) or tenths == _MOST_TENTHS:
                        raise OSError(f"answers cannot be kept in {self._path}: {error}") from error
                    # The file has its greatest size: a tenth of it makes room.
                    with database:
                        database.execute(_REMOVE_A_TENTH)

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
