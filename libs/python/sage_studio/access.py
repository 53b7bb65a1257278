"""What one visitor's key opens: the mesh's management, its client, and the feed of its requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sage_client.client import AsyncUnifiedInferenceClient
from sage_client.http import HttpTransport
from sage_client.jobs.rest_jobs import RestJobs
from sage_client.knowledge.rest_knowledge import RestKnowledge
from sage_client.management.rest_call import RestCall
from sage_client.management.rest_management import RestManagement
from sage_client.management.rest_tenants import RestTenants
from sage_client.settings import own_gateway
from sage_common import paths
from sage_common.clock import Clock
from sage_common.errors import ConflictError, SageError
from sage_platform.supervision.state_file import read_state
from sage_studio.feed import MeshFeed

# A page is not kept waiting for longer than this by a gateway that says nothing.
FRONT_SECONDS = 2.0
# What a key has opened is closed once no page has shown it for so long.
KEPT_SECONDS = 120.0


def gateway_here() -> str:
    """Return the URL of the gateway that ``sage up`` runs on this machine, or that its settings name."""
    try:
        state = read_state(paths.state_dir())
    except ConflictError:
        state = None
    return (state.facts.get("gateway_url") if state else None) or own_gateway()


class Access:
    """The mesh as the holder of one key sees it.

    Args:
        key: empty for a mesh that asks for none.
    """

    def __init__(self, target: str, key: str, clock: Clock) -> None:
        self.target = target
        self.key = key
        self._transport = HttpTransport(target, api_key=key)
        self.management = RestManagement(self._transport)
        self.jobs = RestJobs(self._transport)
        self.knowledge = RestKnowledge(self._transport)
        self.tenants = RestTenants(RestCall(self._transport))
        self.client = AsyncUnifiedInferenceClient(self._transport, target=target, api_key=key or None)
        self.feed = MeshFeed(self.management, clock)

    async def close(self) -> None:
        """End the feed and close the connections."""
        await self.feed.close()
        await self.client.close()


class AccessPool:
    """One ``Access`` for each key, shared by its pages.

    Args:
        target: returns the URL of the gateway; a mesh that starts again may have another.
    """

    def __init__(self, target: Callable[[], str], clock: Clock) -> None:
        self._target = target
        self._clock = clock
        self._open: dict[str, Access] = {}
        self._left: list[Access] = []
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def target(self) -> str:
        """URL of the gateway."""
        return self._target()

    def access(self, key: str) -> Access:
        """Return what a key opens."""
        self._close_idle(key)
        found = self._open.get(key)
        if found is None or found.target != self.target:
            if found is not None:
                # Pages that still show the mesh from before have it until they are closed.
                self._left.append(found)
            found = self._open[key] = Access(self.target, key, self._clock)
        return found

    def _close_idle(self, wanted: str) -> None:
        """Close what no page shows any more."""
        idle = [key for key, access in self._open.items() if key != wanted and access.feed.idle_seconds > KEPT_SECONDS]
        closing = [self._open.pop(key) for key in idle]
        closing += [access for access in self._left if access.feed.idle_seconds > KEPT_SECONDS]
        self._left = [access for access in self._left if access not in closing]
        for access in closing:
            task = asyncio.get_running_loop().create_task(access.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def needs_key(self) -> bool | None:
        """Return whether the mesh asks for keys; None where its gateway does not answer."""
        try:
            front = await asyncio.wait_for(self.access("").management.front(), FRONT_SECONDS)
        except (SageError, asyncio.TimeoutError):
            return None
        return bool(front.get("needs_api_key"))

    async def check(self, key: str) -> None:
        """Ask the gateway whether a key is one. Raises UnauthenticatedError, UnavailableError."""
        transport = HttpTransport(self.target, api_key=key)
        try:
            await RestManagement(transport).status()
        finally:
            await transport.close()

    async def close(self) -> None:
        """Close everything."""
        for access in (*self._open.values(), *self._left):
            await access.close()
        self._open.clear()
        self._left.clear()
        await asyncio.gather(*self._closing)
