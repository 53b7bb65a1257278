"""What applications use of a mesh, opened for a command: its models, knowledge bases and jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage_client.client import AsyncUnifiedInferenceClient
    from sage_client.knowledge.knowledge_bases import KnowledgeBases
    from sage_client.wait_notice import OnWait


@dataclass(frozen=True, slots=True)
class MeshAccess:
    """A mesh. ``client.jobs()`` has its jobs."""

    client: AsyncUnifiedInferenceClient
    knowledge: KnowledgeBases


@asynccontextmanager
async def open_mesh_access(url: str | None, on_wait: OnWait | None = None) -> AsyncIterator[MeshAccess]:
    """Open the mesh of a command's ``--url``; None for the one that ``client_target`` finds.

    Args:
        on_wait: called with what is waited for; None shows it on stderr.

    Raises:
        ConfigurationError, UnavailableError: see ``AsyncUnifiedInferenceClient.create``.
    """
    from sage_cli.target import client_target
    from sage_cli.waiting import waiting
    from sage_client.client import AsyncUnifiedInferenceClient
    from sage_client.knowledge.knowledge_client import open_knowledge

    target = client_target(url)
    with waiting() as display:
        on_wait = on_wait or display.show
        client = await AsyncUnifiedInferenceClient.create(target.url, api_key=target.api_key, on_wait=on_wait)
        async with client:
            knowledge = await open_knowledge(target.url, api_key=target.api_key, on_wait=on_wait)
            try:
                yield MeshAccess(client, knowledge)
            finally:
                await knowledge.close()
