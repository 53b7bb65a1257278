"""Long parts of bodies in JetStream, from an edge to the engine that gets them.

The stream is laid out as an object store's, but chunks are under the object's own name, which the client's object store
does not do: whoever began a transfer can then remove what came of it without having seen its end, and reading takes no
consumer that could stay behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any, Final

from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.api import DiscardPolicy, RawStreamMsg, StorageType, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from sage_common.errors import EngineFailedError, UnavailableError, describe
from sage_platform import subjects
from sage_platform.identity_subjects import identity_of
from sage_platform.mesh_tls.nats_rights import BODIES_STREAM, may_make
from sage_platform.nats_cluster import copies_on
from sage_platform.opened_late import OpenedLate

MEBIBYTE: Final = 1024 * 1024
# What a request's attempts may need to hear of its end.
GRACE_SECONDS: Final = 60.0
# As long as a request may take.
LIFETIME_SECONDS: Final = 3600.0 + GRACE_SECONDS
MOST_BYTES: Final = 2048 * MEBIBYTE
TRANSFER_SECONDS: Final = 60.0
CHUNK_BYTES: Final = 256 * 1024
# Chunks under way at the same time.
_WINDOW: Final = 8
_COUNT: Final = "Sage-Chunks"


class BodyStore:
    """Keeps parts until their request has ended, or could have.

    Args:
        most_bytes: what all parts may have together, for whoever makes the stream.
    """

    def __init__(self, js: JetStreamContext, most_bytes: int = MOST_BYTES) -> None:
        self._js = js
        self._most_bytes = most_bytes
        self._opened = OpenedLate(self._open)
        self._undoing: set[asyncio.Task[None]] = set()

    async def write(self, object_id: str, parts: bytes, lifetime_seconds: float = LIFETIME_SECONDS) -> None:
        """Store parts. Of a transfer that fails or is cancelled nothing stays.

        Args:
            lifetime_seconds: after which they go by themselves, when nobody is left who removes them.

        Raises:
            UnavailableError: there is no room for them now, or JetStream does not take them.
        """
        sent: set[asyncio.Task[None]] = set()
        try:
            with _reaching("stored"):
                await asyncio.wait_for(self._send(object_id, parts, lifetime_seconds, sent), TRANSFER_SECONDS)
        except (NoStreamResponseError, NotFoundError):
            # The stream was removed, or NATS has lost its storage: the next one makes it again.
            self._opened.forget()
            raise UnavailableError(
                "a body this long cannot be stored now: its bucket in JetStream is gone; try again, or send less",
                code="body_store_unavailable",
                retry_after_seconds=1,
                retryable=True,
            ) from None
        except BaseException:
            self._undo(self._removed_after(sent, object_id))
            raise

    async def read(self, object_id: str) -> bytes:
        """Return parts.

        Raises:
            EngineFailedError: they are gone.
            UnavailableError: JetStream does not give them.
        """
        try:
            with _reaching("read"):
                return await asyncio.wait_for(self._gathered(object_id), TRANSFER_SECONDS)
        except (NotFoundError, NoRespondersError):
            raise EngineFailedError("a part of the body is gone; send the request again") from None

    async def remove(self, object_id: str) -> None:
        """Remove parts. What cannot be removed goes by its age."""
        with contextlib.suppress(NatsError, asyncio.TimeoutError):
            await self._js.purge_stream(BODIES_STREAM, subject=f"{_subject(object_id)}.>")

    async def _send(self, object_id: str, parts: bytes, lifetime_seconds: float, sent: set[asyncio.Task[None]]) -> None:
        """Send the chunks, a few at a time; ``sent`` holds those that are on their way."""
        await self._opened.get()
        begins = range(0, len(parts), CHUNK_BYTES)
        headers = {_COUNT: str(len(begins))}
        view = memoryview(parts)
        for index, begin in enumerate(begins):
            if len(sent) >= _WINDOW:
                await _first_of(sent)
            chunk = bytes(view[begin : begin + CHUNK_BYTES])
            sending = self._publish(f"{_subject(object_id)}.{index}", chunk, dict(headers), lifetime_seconds)
            sent.add(asyncio.create_task(sending))
        while sent:
            await _first_of(sent)

    async def _publish(self, subject: str, chunk: bytes, headers: dict[str, Any], lifetime_seconds: float) -> None:
        await self._js.publish(subject, chunk, headers=headers, msg_ttl=max(1.0, lifetime_seconds))

    async def _gathered(self, object_id: str) -> bytes:
        first = await self._chunk(object_id, 0)
        count = int((first.headers or {}).get(_COUNT, 1))
        pieces = [first.data or b""]
        for begin in range(1, count, _WINDOW):
            window = range(begin, min(begin + _WINDOW, count))
            chunks = await asyncio.gather(*(self._chunk(object_id, index) for index in window))
            pieces += [chunk.data or b"" for chunk in chunks]
        return b"".join(pieces)

    async def _chunk(self, object_id: str, index: int) -> RawStreamMsg:
        return await self._js.get_msg(BODIES_STREAM, subject=f"{_subject(object_id)}.{index}", direct=True)

    async def _removed_after(self, sent: set[asyncio.Task[None]], object_id: str) -> None:
        # A chunk that is on its way would be stored after the rest was removed.
        await asyncio.gather(*sent, return_exceptions=True)
        await self.remove(object_id)

    def _undo(self, undoing: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(undoing)
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)

    async def _open(self) -> None:
        if not may_make(identity_of(self._js._nc), BODIES_STREAM):
            return
        config = StreamConfig(
            name=BODIES_STREAM,
            subjects=[f"$O.{subjects.BUCKET_BODIES}.C.>", f"$O.{subjects.BUCKET_BODIES}.M.>"],
            max_age=LIFETIME_SECONDS,
            max_bytes=self._most_bytes,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            allow_rollup_hdrs=True,
            allow_direct=True,
            allow_msg_ttl=True,
            num_replicas=copies_on(self._js._nc),
        )
        try:
            await self._js.add_stream(config)
        except APIError:
            # It is there already, with other bounds; or as SAGE made it before chunks had ages of their own.
            there = (await self._js.stream_info(BODIES_STREAM)).config
            if not there.allow_msg_ttl:
                await self._js.update_stream(replace(there, allow_msg_ttl=True))


def _subject(object_id: str) -> str:
    return f"$O.{subjects.BUCKET_BODIES}.C.{object_id}"


async def _first_of(sent: set[asyncio.Task[None]]) -> None:
    """Wait for one of them at least, and take what has ended out. Raises what the transfer of a chunk raised."""
    done, _ = await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
    sent -= done
    for failure in [failure for task in done if (failure := task.exception()) is not None]:
        raise failure


@contextlib.contextmanager
def _reaching(verb: str) -> Iterator[None]:
    """Turn a refusal of JetStream into an error for callers."""
    try:
        yield
    except (NotFoundError, NoRespondersError, NoStreamResponseError):
        raise
    except APIError as error:
        raise UnavailableError(
            f"a body this long cannot be {verb} now: {error.description or describe(error)}; try again, or send less",
            code="body_store_full",
            retry_after_seconds=5,
            retryable=True,
        ) from None
    except (NatsError, asyncio.TimeoutError) as error:
        raise UnavailableError(
            f"a body this long cannot be {verb} now: JetStream does not answer ({describe(error)}); try again, or send "
            "less",
            code="body_store_unavailable",
            retry_after_seconds=5,
            retryable=True,
        ) from None
