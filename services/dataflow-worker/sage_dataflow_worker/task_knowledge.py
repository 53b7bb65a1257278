"""The knowledge bases of a job's tenant, for one run of a task."""

from __future__ import annotations

from collections.abc import Sequence

from sage_dataflow_worker.knowledge_home import KnowledgeHome
from sage_kernel.knowledge_access import TextDocument
from sage_kernel.model_port import ModelPort
from sage_middleware.knowledge.pipeline_index import KnowledgeIndex, LibraryAccess


class TaskKnowledge:
    """Makes sure that this worker has the mesh's knowledge bases, before it opens or fills one."""

    def __init__(self, home: KnowledgeHome, tenant: str) -> None:
        self._home = home
        self._access = LibraryAccess(home.library(tenant))

    async def open(self, name: str) -> KnowledgeIndex:
        """Return the index of a knowledge base. Raises NotFoundError, and as ``KnowledgeHome.check``."""
        await self._home.check()
        return await self._access.open(name)

    async def store(self, name: str, documents: Sequence[TextDocument], models: ModelPort) -> None:
        """Store documents. Raises as ``LibraryAccess.store`` and ``KnowledgeHome.check``."""
        await self._home.check(claims=True)
        await self._access.store(name, documents, models)

    async def aclose(self) -> None:
        """Close what was opened."""
        await self._access.close()
