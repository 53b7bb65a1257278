"""The handbook is stored once, and again only what has changed."""

from __future__ import annotations

from hashlib import sha256
from typing import cast

from sage_apps.assistant.sample import SAMPLE_NAME, handbook_files, keep_sample, sample_is_whole
from sage_client.knowledge.knowledge_bases import KnowledgeBases
from sage_client.knowledge.knowledge_views import DocumentPage, DocumentView
from sage_common.errors import ConflictError, NotFoundError


class FakeBases:
    """One knowledge base, if it was made."""

    def __init__(self) -> None:
        self.documents_by_path: dict[str, bytes] | None = None
        self.stored: list[str] = []

    async def documents(self, name: str) -> DocumentPage:
        if self.documents_by_path is None:
            raise NotFoundError(f"there is no knowledge base {name!r}")
        views = [
            DocumentView(number, path, "", "", len(data), sha256(data).hexdigest(), 1, {})
            for number, (path, data) in enumerate(self.documents_by_path.items())
        ]
        return DocumentPage(tuple(views), len(views))

    async def create(self, name: str) -> None:
        self.documents_by_path = {}

    async def store(self, name: str, path: str, data: bytes) -> None:
        assert self.documents_by_path is not None
        self.documents_by_path[path] = data
        self.stored.append(path)


async def test_the_handbook_is_stored_and_then_only_what_is_another() -> None:
    bases = FakeBases()
    assert await keep_sample(cast(KnowledgeBases, bases)) == SAMPLE_NAME
    assert bases.stored == [file.name for file in handbook_files()]
    bases.stored.clear()
    await keep_sample(cast(KnowledgeBases, bases))
    assert bases.stored == []
    assert bases.documents_by_path is not None
    bases.documents_by_path["fees.md"] = b"# Another"
    await keep_sample(cast(KnowledgeBases, bases))
    assert bases.stored == ["fees.md"]


async def test_a_handbook_that_was_stored_half_is_not_whole() -> None:
    bases = FakeBases()
    known = cast(KnowledgeBases, bases)
    assert not await sample_is_whole(known)
    await keep_sample(known)
    assert await sample_is_whole(known)
    assert bases.documents_by_path is not None
    del bases.documents_by_path[bases.stored[-1]]
    assert not await sample_is_whole(known)


async def test_a_handbook_that_another_makes_at_the_same_time_is_stored() -> None:
    class MadeByAnother(FakeBases):
        async def create(self, name: str) -> None:
            self.documents_by_path = {}
            raise ConflictError(f"{name} is there already")

    bases = MadeByAnother()
    await keep_sample(cast(KnowledgeBases, bases))
    assert await sample_is_whole(cast(KnowledgeBases, bases))
