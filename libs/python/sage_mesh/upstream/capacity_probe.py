"""Asks a server how many requests it computes at once: when it is attached, and again when it may have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from sage_common.logging import get_logger
from sage_control_plane.request.engine_state import EngineSpec
from sage_mesh.engine_capacity import TECHNICAL_CEILING, with_capacity
from sage_mesh.upstream.server_capacity import CAPACITY_PAGES, ServerCapacity, read_capacity, read_object
from sage_mesh.upstream.upstream import NotServingError, Upstream

log = get_logger(__name__)

# For all pages together. They are asked for between health checks, and the first time before an engine takes work.
ASK_SECONDS: Final = 2.0
# Where routers list the servers behind them, and what the list is called there.
WORKER_PAGES: Final[Mapping[str, str]] = {"/workers": "workers", "/list_workers": "urls"}


class CapacityProbe:
    """Knows what a server says of its capacity.

    A server that has none of the pages is asked once, and again after it was away; one that has is asked for that page
    now and then, so that a restart that no health check saw is noticed.

    Args:
        upstream: the server.
        ceiling: requests, as an operator set them; None where none did.
        seats: requests that it computes at once by the arguments that it was started with; None where they do not say.
        technical_ceiling: the requests outstanding at once where nobody says anything.
        ask_seconds: longest wait for all answers together.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        ceiling: int | None,
        seats: int | None = None,
        technical_ceiling: int = TECHNICAL_CEILING,
        ask_seconds: float = ASK_SECONDS,
    ) -> None:
        self._upstream = upstream
        self._ceiling = ceiling
        self._seats = seats
        self._technical_ceiling = technical_ceiling
        self._ask_seconds = ask_seconds
        self._path: str | None = None
        self._found: ServerCapacity | None = None
        self._answered = False

    @property
    def tokens(self) -> int:
        """Tokens that may be outstanding at once, as an engine's spec has them: 0 where the server does not say."""
        return (self._found.tokens if self._found else None) or 0

    def apply(self, spec: EngineSpec) -> EngineSpec:
        """Return the spec with the capacity as it is known now."""
        found = self._found or ServerCapacity()
        return with_capacity(
            spec,
            ceiling=self._ceiling,
            told=found.seats or self._seats,
            admitted=found.admitted,
            technical_ceiling=self._technical_ceiling,
        )

    async def ask(self, *, again: bool) -> None:
        """Ask the server. What it said before stands where it does not answer.

        Args:
            again: whether it may be another server than the one that answered before.
        """
        known = () if self._path is None else (self._path,)
        paths = dict.fromkeys((*known, *CAPACITY_PAGES)) if again or not self._answered else known
        if not paths:
            return
        before = self._found
        try:
            await asyncio.wait_for(self._read(paths), self._ask_seconds)
        except (asyncio.TimeoutError, NotServingError):
            # Whether it is healthy is not decided here.
            self._answered = False
        if self._found != before:
            log.info("a server said what it takes", url=self._upstream.root, capacity=self._found)

    async def _read(self, paths: Iterable[str]) -> None:
        for path in () if self._upstream.fronts_others else paths:
            found = read_capacity(path, await self._page(path))
            if found is not None:
                # What a router says is one server's of those behind it.
                self._path, self._found = (None, None) if await self._is_router(path) else (path, found)
                self._answered = True
                return
        self._path, self._found, self._answered = None, None, True

    async def _is_router(self, path: str) -> bool:
        if "server_info" not in path:
            return False
        for page, name in WORKER_PAGES.items():
            answer: Mapping[str, Any] = read_object(await self._page(page)) or {}
            if isinstance(answer.get(name), list):
                return True
        return False

    async def _page(self, path: str) -> bytes:
        """Return a page; nothing where the server has none. Raises NotServingError where it may have it later."""
        status, body = await self._upstream.page(path)
        if status == 429 or (status >= 500 and status != 501):
            raise NotServingError(f"GET {path} answered {status}", status=status)
        return body if status == 200 else b""


def with_tokens(spec: EngineSpec, tokens: int | None) -> EngineSpec:
    """Return the spec with the tokens that may be outstanding at once; None leaves it as it is."""
    if tokens is None or tokens == spec.max_outstanding_tokens:
        return spec
    return replace(spec, max_outstanding_tokens=tokens)
