"""Answers of models in a file of this machine."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sage_common.paths import private_dir

# Of one file. The oldest answers go first.
MAX_BYTES = 1 << 30
_PAGE_BYTES = 4096
_BUSY_SECONDS = 10.0
_MOST_TENTHS = 10
# Of one statement; every SQLite takes 999 parameters.
_MOST_ROWS = 300
_REMOVE_A_TENTH = (
    "DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY at LIMIT "
    "(SELECT 1 + count(*) / 10 FROM answers))"
)


class _Get(NamedTuple):
    key: str
    oldest: float
    found: asyncio.Future[bytes | None]


class _Put(NamedTuple):
    key: str
    answer: bytes
    kept: asyncio.Future[None]


class FileAnswers:
    """Answers in one SQLite file, which several processes of a machine may share. Calls take turns in threads.

    What is asked for while a call is under way is done together in the next one: the reads, and then the writes.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._connection: sqlite3.Connection | None = None
        self._turn = threading.Lock()
        self._gets: list[_Get] = []
        self._puts: list[_Put] = []
        self._working: asyncio.Task[None] | None = None

    async def get(self, key: str, max_age_seconds: float | None) -> bytes | None:
        """Return an answer, or None."""
        oldest = 0.0 if max_age_seconds is None else self._now() - max_age_seconds
        get = _Get(key, oldest, asyncio.get_running_loop().create_future())
        self._gets.append(get)
        self._work()
        return await get.found

    async def put(self, key: str, answer: bytes) -> None:
        """Keep an answer; a process that is killed after this has kept it. Raises OSError."""
        put = _Put(key, answer, asyncio.get_running_loop().create_future())
        self._puts.append(put)
        self._work()
        await put.kept

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _work(self) -> None:
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work_off(), name="keep-answers")

    async def _work_off(self) -> None:
        while self._gets or self._puts:
            gets, self._gets = self._gets, []
            puts, self._puts = self._puts, []
            found, error = await asyncio.to_thread(self._together, gets, puts)
            for get, answer in zip(gets, found, strict=True):
                # One who was cancelled no longer waits.
                if not get.found.done():
                    _settle(get.found, answer)
            for put in puts:
                if not put.kept.done():
                    _settle(put.kept, error)

    def _together(
        self, gets: Sequence[_Get], puts: Sequence[_Put]
    ) -> tuple[list[bytes | Exception | None], Exception | None]:
        found: list[bytes | Exception | None]
        with self._turn:
            try:
                found = list(self._found(gets))
            except (OSError, sqlite3.Error) as error:
                found = [error] * len(gets)
            try:
                if puts:
                    self._put([(put.key, put.answer, self._now()) for put in puts])
            except (OSError, sqlite3.Error) as error:
                return found, error
        return found, None

    # One statement for many answers: SQLite gives Python's lock away at every step, and a loop that is busy gives it
    # back after 5 ms (sys.getswitchinterval).

    def _found(self, gets: Sequence[_Get]) -> list[bytes | None]:
        kept: dict[str, tuple[bytes, float]] = {}
        for first in range(0, len(gets), _MOST_ROWS):
            keys = [get.key for get in gets[first : first + _MOST_ROWS]]
            marks = ", ".join("?" * len(keys))
            rows = self._open().execute(f"SELECT key, answer, at FROM answers WHERE key IN ({marks})", keys)
            kept.update((key, (answer, at)) for key, answer, at in rows)
        found = ((kept.get(get.key), get.oldest) for get in gets)
        return [row[0] if row is not None and row[1] >= oldest else None for row, oldest in found]

    def _put(self, rows: Sequence[tuple[str, bytes, float]]) -> None:
        database = self._open()
        for tenths in range(_MOST_TENTHS + 1):
            try:
                # Each statement is a transaction of its own: to begin and to commit one would be two steps more.
                for first in range(0, len(rows), _MOST_ROWS):
                    some = rows[first : first + _MOST_ROWS]
                    marks = ", ".join(["(?, ?, ?)"] * len(some))
                    values = [value for row in some for value in row]
                    database.execute(f"INSERT OR REPLACE INTO answers VALUES {marks}", values)
                return
            except sqlite3.OperationalError as error:
                if "full" not in str(error) or tenths == _MOST_TENTHS:
                    raise OSError(f"answers cannot be kept in {self._path}: {error}") from error
                # The file has its greatest size: a tenth of it makes room.
                database.execute(_REMOVE_A_TENTH)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            private_dir(self._path.parent)
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            # With a write-ahead log a commit needs no fsync to outlive this process.
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"max_page_count={MAX_BYTES // _PAGE_BYTES}"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer BLOB, at REAL)")
            self._connection = connection
        return self._connection


def _settle(future: asyncio.Future[Any], outcome: object) -> None:
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
