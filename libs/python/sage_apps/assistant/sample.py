"""The documents that the assistant comes with: the handbook of a public library, and where it is kept."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from sage_apps.catalogue import data_folder
from sage_client.knowledge.knowledge_bases import KnowledgeBases
from sage_common.errors import ConflictError, NotFoundError

SAMPLE_NAME = "library-handbook"


def handbook_files() -> list[Path]:
    """Return the documents, by name."""
    return sorted((data_folder("assistant") / "handbook").iterdir())


async def keep_sample(knowledge: KnowledgeBases, name: str = SAMPLE_NAME) -> str:
    """Make the knowledge base where it is not there, store what is new or changed, and return its name."""
    try:
        kept = await _digests(knowledge, name)
    except NotFoundError:
        # Another may make it at the same time, and store the same.
        with suppress(ConflictError):
            await knowledge.create(name)
        kept = {}
    for file in handbook_files():
        data = file.read_bytes()
        if kept.get(file.name) != sha256(data).hexdigest():
            await knowledge.store(name, file.name, data)
    return name


async def sample_is_whole(knowledge: KnowledgeBases, name: str = SAMPLE_NAME) -> bool:
    """Whether the knowledge base is there with every document as it is now."""
    try:
        kept = await _digests(knowledge, name)
    except NotFoundError:
        return False
    return all(kept.get(file.name) == sha256(file.read_bytes()).hexdigest() for file in handbook_files())


async def _digests(knowledge: KnowledgeBases, name: str) -> dict[str, str]:
    return {one.path: one.sha256 for one in (await knowledge.documents(name)).documents}
