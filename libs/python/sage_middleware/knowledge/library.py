"""Which knowledge bases there are: one file each, by name, in the user's data directory."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from sage_common import paths
from sage_common.config import nearest
from sage_common.errors import ConflictError, InvalidRequestError, NotFoundError
from sage_middleware.knowledge.collection import DEFAULT_CHUNK_TOKENS, Collection
from sage_middleware.knowledge.errors import folder_errors
from sage_middleware.knowledge.index_record import DEFAULT_INDEX_ABOVE, index_files
from sage_middleware.knowledge.writer_lock import WriterLock

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_SUFFIX = ".kb"


class Library:
    """The collections of a directory.

    Args:
        directory: where their files are; None takes the user's data directory.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or paths.data_dir() / "knowledge"

    def names(self) -> list[str]:
        """Return the names, sorted."""
        if not self.directory.is_dir():
            return []
        return sorted(path.stem for path in self.directory.glob(f"*{_SUFFIX}") if not path.name.startswith("."))

    def path(self, name: str) -> Path:
        """Return the file of a name. Raises InvalidRequestError: it cannot be one."""
        if not _NAME.match(name):
            raise InvalidRequestError(
                f"{name!r} cannot be the name of a knowledge base; take up to 100 letters, digits, dots, dashes and "
                "underscores, a letter or digit first",
                param="name",
            )
        return self.directory / f"{name}{_SUFFIX}"

    def create(
        self,
        name: str,
        *,
        model: str | None = None,
        chunk_tokens: int = DEFAULT_CHUNK_TOKENS,
        index_above: int = DEFAULT_INDEX_ABOVE,
    ) -> Collection:
        """Make an empty collection and open it.

        Raises:
            ConflictError: there is one of that name, or another process makes it now.
            PermissionDeniedError, UnprocessableError: the folder cannot be written.
        """
        path = self.path(name)
        with folder_errors(self.directory):
            paths.private_dir(self.directory)
        with WriterLock(path):
            if path.exists():
                raise ConflictError(f"the knowledge base {name!r} is there already; ingest into it, or drop it first")
            return Collection.create(path, model=model, chunk_tokens=chunk_tokens, index_above=index_above)

    def open(self, name: str, *, read_only: bool = False) -> Collection:
        """Open a collection. Raises NotFoundError: there is none of that name."""
        path = self.path(name)
        if not path.exists():
            raise NotFoundError(
                f"there is no knowledge base {name!r}{nearest(name, self.names())}; "
                f"`sage kb list` shows them, `sage kb create {name}` makes one"
            )
        return Collection(path, read_only=read_only)

    def drop(self, name: str) -> None:
        """Remove a collection. Raises NotFoundError: there is none; ConflictError: it is being ingested into."""
        with self.open(name, read_only=True) as collection:
            path = collection.path
        with WriterLock(path):
            for part in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
                part.unlink(missing_ok=True)
            for part in index_files(path):
                part.unlink(missing_ok=True)


def name_for_folder(folder: Path) -> str:
    """Return the name of the collection that is kept for a folder, or for one document."""
    resolved = folder.resolve()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", resolved.name).strip("-._")[:60] or "folder"
    return f"{readable}-{hashlib.sha256(str(resolved).encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
