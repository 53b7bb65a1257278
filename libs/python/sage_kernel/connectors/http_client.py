"""HTTP for sources and sinks: only allowed hosts, at every redirect and at the address that is connected to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from sage_common.errors import (
    ContendedError,
    NotFoundError,
    PermissionDeniedError,
    SageError,
    UnavailableError,
    UnprocessableError,
    describe,
    why_unconnected,
)
from sage_kernel.host_access import HostAccess

_MOST_REDIRECTS = 5
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 30.0
_SHOWN_BODY_BYTES = 300


class AllowedResolver(AbstractResolver):
    """Resolves names to the addresses that are allowed for them, so that what is checked is what is connected to."""

    def __init__(self, hosts: HostAccess) -> None:
        self._hosts = hosts
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return addresses. Raises PermissionDeniedError where none of them is allowed."""
        found = await self._resolver.resolve(host, port, family)
        allowed: list[ResolveResult] = []
        refusal: PermissionDeniedError | None = None
        for result in found:
            try:
                self._hosts.check_address(host, result["host"])
                allowed.append(result)
            except PermissionDeniedError as error:
                refusal = error
        if not allowed and refusal is not None:
            raise refusal
        return allowed

    async def close(self) -> None:
        """Release nothing."""
        await self._resolver.close()


class HttpClient:
    """One session; opened by the first request.

    Args:
        hosts: which hosts may be talked to.
    """

    def __init__(self, hosts: HostAccess, most_connections: int = 8) -> None:
        self._hosts = hosts
        self._most_connections = most_connections
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, data: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and give its answer, which is a success.

        Raises:
            InvalidRequestError, PermissionDeniedError: the URL, or one that it redirects to, is not allowed.
            UnavailableError, ContendedError: no answer, or one that asks to come again later.
            NotFoundError, UnprocessableError: another refusal.
        """
        for _ in range(_MOST_REDIRECTS + 1):
            self._hosts.check(url)
            async with self._answer(method, url, headers, data) as response:
                target = response.headers.get("Location") if response.status in (301, 302, 303, 307, 308) else None
                if target is None:
                    if response.status >= 300:
                        raise await _refusal(url, response)
                    yield response
                    return
                if response.status == 303 or (method == "POST" and response.status in (301, 302)):
                    raise UnprocessableError(
                        f"{_shown(url)} answers with a redirect to a page; name the address behind"
                    )
                url = urljoin(url, target)
        raise UnprocessableError(f"{_shown(url)} redirects more than {_MOST_REDIRECTS} times; name the last address")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _answer(
        self, method: str, url: str, headers: Mapping[str, str] | None, data: bytes | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._opened().request(method, url, headers=headers, data=data, allow_redirects=False) as answer:
                yield answer
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, SageError):
                raise error.os_error from None
            raise UnavailableError(f"{_shown(url)} cannot be reached ({why_unconnected(error.os_error)})") from None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise UnavailableError(f"{_shown(url)} does not answer ({describe(error)})") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._most_connections, resolver=AllowedResolver(self._hosts), use_dns_cache=False
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS),
                headers={"User-Agent": "sage-pipeline"},
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _shown(url: str) -> str:
    """Return a URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"[:200]


async def _refusal(url: str, response: aiohttp.ClientResponse) -> SageError:
    body = (await response.content.read(_SHOWN_BODY_BYTES)).decode("utf-8", "replace")
    message = f"{_shown(url)} answers {response.status} {response.reason}: {' '.join(body.split())}"
    after = response.headers.get("Retry-After", "")
    wait = float(after) if after.isdigit() else None
    if response.status == 429:
        return ContendedError(message, retry_after_seconds=wait)
    if response.status in (408, 425) or response.status >= 500:
        return UnavailableError(message, retry_after_seconds=wait)
    if response.status in (404, 410):
        return NotFoundError(message)
    return UnprocessableError(message)
