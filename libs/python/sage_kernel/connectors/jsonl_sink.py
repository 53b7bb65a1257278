"""Writing records to a file, one JSON object a line."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

import orjson
import polars as pl

from sage_common.errors import CancelledError, UnprocessableError
from sage_kernel.operator import State

P = ParamSpec("P")
T = TypeVar("T")


class JsonLinesSink:
    """Writes records to a file beside the wanted one, which appears when the run has succeeded, whole.

    A checkpoint holds how long the file was; what was written after it is cut off when the run goes on from there.

    Args:
        run_id: tells the unfinished files of different runs apart.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        self._path = path
        self._unfinished = path.with_name(f".{path.name}.{run_id}")
        self._file: IO[bytes] | None = None
        self._is_kept = False
        # A run that is cancelled leaves its thread at work: it must have ended before the file is closed, and open
        # nothing afterwards.
        self._in_thread = threading.Lock()
        self._is_closed = False

    async def write(self, frame: pl.DataFrame) -> None:
        """Write records. Raises UnprocessableError for one that JSON has no form for, OSError from the disk."""
        try:
            lines = b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in frame.to_dicts())
        except TypeError as error:
            message = f"a record cannot be written as JSON: {error}; choose others with 'fields'"
            raise UnprocessableError(message) from None
        await self._call(self._append, lines)

    async def flush(self) -> State:
        """Bring everything to the disk."""
        return State({"bytes": await self._call(self._sync)})

    async def restore(self, state: State) -> None:
        """Cut the file to its length at the checkpoint."""
        await self._call(self._cut, int(str(state.values["bytes"])))

    async def publish(self) -> None:
        """Put the file in its place."""
        await self._call(self._move)

    async def close(self) -> None:
        """Close the file; one that no checkpoint knows of is removed."""
        await asyncio.to_thread(self._close)

    async def _call(self, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        def locked() -> T:
            with self._in_thread:
                if self._is_closed:
                    raise CancelledError("the run has ended")
                return function(*arguments, **keywords)

        return await asyncio.to_thread(locked)

    def _close(self) -> None:
        with self._in_thread:
            self._is_closed = True
            if self._file is not None:
                self._file.close()
                self._file = None
                if not self._is_kept:
                    self._unfinished.unlink(missing_ok=True)

    def _append(self, lines: bytes) -> None:
        self._open().write(lines)

    def _sync(self) -> int:
        file = self._open()
        file.flush()
        os.fsync(file.fileno())
        self._is_kept = True
        return file.tell()

    def _cut(self, length: int) -> None:
        if not self._unfinished.exists() and self._path.exists():
            return  # it was published before the run ended
        file = self._open("r+b")
        file.truncate(length)
        file.seek(length)
        self._is_kept = True

    def _move(self) -> None:
        if self._file is None and not self._unfinished.exists() and self._path.exists():
            return
        self._sync()
        self._open().close()
        self._file = None
        os.replace(self._unfinished, self._path)

    def _open(self, mode: str = "wb") -> IO[bytes]:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._unfinished.open(mode)
        return self._file
