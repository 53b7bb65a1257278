"""How the sources and sinks of a run reach NATS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from sage_common.errors import UnavailableError

if TYPE_CHECKING:
    from nats.aio.client import Client

    from sage_common.service_settings import NatsSettings


class NatsAccess(Protocol):
    """Gives out a connection, which belongs to whoever made this."""

    async def client(self) -> Client:
        """Return a client that stays connected. Raises UnavailableError where no server answers."""
        ...


class NoNats:
    """There is no NATS for this run."""

    async def client(self) -> Client:
        """Raise UnavailableError."""
        raise UnavailableError("this run has no connection to NATS; run it where there is one, or read and write files")


class GivenNats:
    """The connection of the process that the run is part of."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def client(self) -> Client:
        """Return it."""
        return self._client


class LazyNats:
    """Connects when it is first asked.

    Args:
        settings: makes the settings of the connection.
    """

    def __init__(self, settings: NatsSettings | None = None, name: str = "sage pipeline") -> None:
        self._settings = settings
        self._name = name
        self._client: Client | None = None
        self._one_at_a_time = asyncio.Lock()

    async def client(self) -> Client:
        """Return the client. Raises UnavailableError where no server answers, UnauthenticatedError where it refuses."""
        async with self._one_at_a_time:
            if self._client is None or self._client.is_closed:
                # Imported where it is needed: most pipelines are read and checked without it.
                from sage_common.config import load
                from sage_common.service_settings import NatsSettings
                from sage_platform.nats_connection import connect

                self._client = await connect(self._settings or load(NatsSettings), name=self._name)
            return self._client

    async def close(self) -> None:
        """Close the connection, if there is one."""
        async with self._one_at_a_time:
            if self._client is not None:
                await self._client.close()
                self._client = None
