"""An event loop in a thread of its own, for callers that have none or that must not block theirs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")

CANCEL_SECONDS = 5.0


class LoopThread:
    """Runs coroutines from any thread. The thread is a daemon: a forgotten ``stop`` does not hold up the exit."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._last: asyncio.Task[None] | None = None
        self._open: set[AsyncGenerator[Any, None]] = set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and wait for its result. An exception here, Ctrl-C say, cancels it there.

        Raises:
            RuntimeError: the loop has been stopped.
        """
        if self._loop.is_closed():
            coroutine.close()
            raise RuntimeError("the client is closed")
        tasks: list[asyncio.Task[T]] = []
        ended: concurrent.futures.Future[None] = concurrent.futures.Future()

        def begin() -> None:
            tasks.append(self._loop.create_task(coroutine))
            tasks[0].add_done_callback(lambda _: ended.set_result(None))

        def give_up() -> None:
            if tasks:
                tasks[0].cancel()
            else:
                # Ctrl-C came before it was begun.
                coroutine.close()
                ended.set_result(None)

        try:
            # Ctrl-C may come at any line here, and whoever comes next must find nothing running.
            self._loop.call_soon_threadsafe(begin)
            ended.result()
        except BaseException:
            self._loop.call_soon_threadsafe(give_up)
            with contextlib.suppress(concurrent.futures.TimeoutError):
                ended.result(CANCEL_SECONDS)
            raise
        return tasks[0].result()

    def iterate(self, source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Iterate over an asynchronous generator; leaving early closes it there."""
        end = object()
        self._open.add(source)

        async def step() -> T | object:
            return await anext(source, end)

        try:
            while (item := self.call(step())) is not end:
                yield item  # type: ignore[misc]
        finally:
            self._open.discard(source)
            if not self._loop.is_closed():
                self.call(source.aclose())

    def finish(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run the last coroutine; in the loop's own thread, where a garbage collection may ask for it, begin it."""
        if threading.current_thread() is self._thread:
            self._last = self._loop.create_task(self._end(coroutine))
        else:
            self.call(self._end(coroutine))

    async def _end(self, last: Coroutine[Any, Any, None]) -> None:
        # From the outermost on: asyncio, at the end of a loop, would close what they are made of at the same time.
        for source in tuple(self._open):
            with contextlib.suppress(RuntimeError):  # another thread waits for its next item
                await source.aclose()
        await last

    def stop(self) -> None:
        """End the thread. Idempotent. In the loop's own thread it ends after the present step."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join()
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            if self._last is not None:
                self._loop.run_until_complete(asyncio.gather(self._last, return_exceptions=True))
            pending = asyncio.all_tasks(self._loop)
            for task in pending:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
