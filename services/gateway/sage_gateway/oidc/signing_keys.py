"""An issuer's keys as they are known here, and when to ask for them again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from sage_common.clock import Clock
from sage_common.errors import UnavailableError
from sage_common.logging import get_logger
from sage_gateway.oidc.published_key import PublishedKey

log = get_logger(__name__)


class FetchKeys(Protocol):
    """Where the keys come from."""

    async def fetch(self) -> Mapping[str, PublishedKey]:
        """Return the keys by their id. Raises UnavailableError."""


class SigningKeys:
    """Keys by their id. An issuer that is away takes none of those that are known.

    Args:
        clock: monotonic, so that no jump of the wall clock asks the issuer again and again, or never.
        refetch_seconds: least time between two questions, so that invented ids do not become a flood for the issuer.
        fresh_seconds: after this long the keys are asked for again, so that one that the issuer withdrew ends.
    """

    def __init__(self, source: FetchKeys, clock: Clock, *, refetch_seconds: float, fresh_seconds: float) -> None:
        self._source = source
        self._clock = clock
        self._refetch_seconds = refetch_seconds
        self._fresh_seconds = fresh_seconds
        self._keys: Mapping[str, PublishedKey] = {}
        self._asked_at = float("-inf")
        self._renewed_at = float("-inf")
        self._read_at = float("-inf")
        self._failure: UnavailableError | None = None
        self._asking: asyncio.Task[None] | None = None
        self.version = 0

    def get(self, key_id: str) -> PublishedKey | None:
        """Return the key of this id; None where the issuer lists none.

        Raises:
            UnavailableError: it is not known, and the issuer could not be asked.
        """
        found = self.listed(key_id)
        if found is None and self._failure is not None:
            raise self._failure
        return found

    def listed(self, key_id: str) -> PublishedKey | None:
        """Return the key of this id in what the issuer has listed last; None where there is none."""
        found = self._keys.get(key_id)
        if found is None and not key_id and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return found

    def renew(self) -> None:
        """Ask for the keys again, beside, where the last question is not too recent.

        It holds back none for a key that is not known, which may be newer than the answer to this one.
        """
        now = self._clock.now()
        if self._asking is None and now - max(self._asked_at, self._renewed_at) >= self._refetch_seconds:
            self._renewed_at = now
            self._begin_asking()

    async def prepare(self, key_id: str) -> None:
        """Ask the issuer where this key is not known; return when it has answered, or failed to.

        Known keys that are no longer fresh are asked for beside, without a wait.
        """
        now = self._clock.now()
        known = self.listed(key_id) is not None
        if known and now - self._read_at < self._fresh_seconds:
            return
        if self._asking is None:
            if now - self._asked_at < self._refetch_seconds:
                return
            self._asked_at = now
            self._begin_asking()
        if not known and self._asking is not None:
            await asyncio.shield(self._asking)

    async def stop(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def _begin_asking(self) -> None:
        self._asking = asyncio.get_running_loop().create_task(self._ask(), name="issuer-keys")

    async def _ask(self) -> None:
        try:
            keys = await self._source.fetch()
        except UnavailableError as error:
            self._failure = error
            log.warning("the issuer's keys were not read", error=error.message, known=len(self._keys))
        else:
            self._failure = None
            self._read_at = self._clock.now()
            if keys.keys() != self._keys.keys() or not keys:
                log.info("the issuer's keys were read", keys=sorted(keys))
            self._keys = keys
            self.version += 1
        finally:
            self._asking = None
