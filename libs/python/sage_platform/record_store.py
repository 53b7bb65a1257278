"""Named records of one kind in a bucket, written by operators and followed by whoever goes by them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from nats.js.client import JetStreamContext
from pydantic import BaseModel

from sage_common.errors import NotFoundError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.followed_bucket import FollowedBucket
from sage_platform.kv import open_bucket

log = get_logger(__name__)

# How long a start waits for the records; they are waited for behind it then.
FIRST_READ_SECONDS = 5.0

R = TypeVar("R", bound=BaseModel)


class RecordStore(Generic[R]):
    """Keeps the records of a bucket in memory, as they are in the mesh.

    Attributes:
        name_of: what a record is stored under.

    Args:
        kind: of the records; what cannot be read as one is taken for absent.
        noun: what to call one in messages.
    """

    def __init__(
        self, js: JetStreamContext, bucket: str, kind: type[R], name_of: Callable[[R], str], noun: str
    ) -> None:
        self._js = js
        self._name = bucket
        self._kind = kind
        self.name_of = name_of
        self._noun = noun
        self._bucket: FollowedBucket[R] | None = None
        self._opened = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._by_name: dict[str, R] = {}
        self._on_change: list[Callable[[], None]] = []

    @property
    def records(self) -> Mapping[str, R]:
        """The records by name."""
        return self._by_name

    @property
    def is_read(self) -> bool:
        """Whether the records have been read since the start; until then there seem to be none."""
        return self._opened.is_set()

    def on_change(self, call: Callable[[], None]) -> None:
        """Call ``call`` after every change, and once now."""
        self._on_change.append(call)
        call()

    async def start(self) -> None:
        """Follow the records; return once they have been read, or after a few seconds where NATS does not answer."""
        self._following = keep_running(self._follow, name=self._name)
        try:
            await asyncio.wait_for(self._opened.wait(), FIRST_READ_SECONDS)
        except asyncio.TimeoutError:
            log.warning("records could not be read from NATS yet", bucket=self._name)

    async def stop(self) -> None:
        """Stop following."""
        if self._following is not None:
            await end_tasks(self._following)
        if self._bucket is not None:
            await self._bucket.stop()

    def reconnected(self) -> None:
        """Read the records again: the server may have lost the watcher."""
        if self._bucket is not None:
            self._bucket.reconnected()

    async def all(self) -> list[R]:
        """Return every record, by name."""
        await self._opened.wait()
        return [self._by_name[name] for name in sorted(self._by_name)]

    def get(self, name: str) -> R:
        """Return a record. Raises NotFoundError."""
        record = self._by_name.get(name)
        if record is None:
            raise self._missing(name)
        return record

    async def put(self, record: R) -> R:
        """Store a record in place of the one of its name, and return it once this process goes by it."""
        bucket = await self._opened_bucket()
        key = subjects.token(self.name_of(record))
        revision = await bucket.put(key, record.model_dump_json(exclude_none=True).encode())
        await bucket.after(key, revision - 1)
        return record

    async def remove(self, name: str) -> R:
        """Remove a record and return it. Raises NotFoundError."""
        bucket = await self._opened_bucket()
        stored = await bucket.get(subjects.token(name))
        if stored is None:
            raise self._missing(name)
        await bucket.remove(subjects.token(name))
        return stored.value

    def _missing(self, name: str) -> NotFoundError:
        known = ", ".join(sorted(self._by_name)[:10])
        hint = f"there are {known}" if known else "there is none"
        code = f"no_such_{self._noun.replace(' ', '_')}"
        return NotFoundError(f"no {self._noun} {name[:80]!r} is kept; {hint}", code=code)

    async def _follow(self) -> None:
        bucket = self._bucket
        if bucket is None:
            bucket = FollowedBucket(await open_bucket(self._js, self._name), self._name, self._kind.model_validate_json)
            bucket.on_change(self._changed)
            await bucket.start()
            self._bucket = bucket
        await bucket.has_read()
        self._opened.set()
        self._tell()

    async def _opened_bucket(self) -> FollowedBucket[R]:
        await self._opened.wait()
        assert self._bucket is not None
        return self._bucket

    def _changed(self, _key: str) -> None:
        # Until everything has been read, a record that is missing may still come.
        if self._opened.is_set():
            self._tell()

    def _tell(self) -> None:
        assert self._bucket is not None
        records = [stored.value for stored in self._bucket.latest.values()]
        self._by_name = {self.name_of(record): record for record in records}
        for call in self._on_change:
            call()
