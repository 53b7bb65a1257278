"""Writing records as text files of a folder, one a record, named by its id."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from sage_common.errors import UnprocessableError
from sage_common.folder_sync import sync_folder
from sage_kernel.connectors.attempt_files import ADDED_CHARACTERS, AttemptFiles
from sage_kernel.connectors.patience import Attempts
from sage_kernel.connectors.thread_lane import ThreadLane
from sage_kernel.operator import State
from sage_kernel.template import Template

_LONGEST_NAME_BYTES = 255


class FolderSink:
    """Writes each file whole, or not at all; a record that comes again writes the same file again.

    Args:
        folder: where they go; absolute, links followed.
        name: the template of a file's path inside it, such as ``{topic}/{id}.md``.
        text: the field with the text.
        run_id: tells the unfinished files of different runs apart.
    """

    def __init__(self, folder: Path, name: Template, text: str, run_id: str, patience: Attempts) -> None:
        self._folder = folder
        self._name = name
        self._text = text
        self._files = AttemptFiles(run_id)
        self._longest_name = _LONGEST_NAME_BYTES - len(run_id) - ADDED_CHARACTERS
        self._patience = patience
        self._changed: set[Path] = set()
        self._lane = ThreadLane()

    async def write(self, frame: pl.DataFrame) -> None:
        """Write the files. Raises UnprocessableError for a name that leads out of the folder, OSError from the disk."""
        files: dict[Path, str] = {}
        for record in frame.iter_rows(named=True):
            text = record[self._text]
            if not isinstance(text, str):
                raise UnprocessableError(f"field {self._text!r} is no text; name the one that is with 'fields'")
            files[self._path(self._name.render(record))] = text
        await self._patience.attempt(lambda: self._lane.call(self._write, files))

    async def flush(self) -> State:
        """Bring the names to the disk too."""
        changed, self._changed = self._changed, set()
        await self._lane.call(lambda: _sync_all(changed))
        return State()

    async def restore(self, state: State) -> None:
        """What was written after the checkpoint is written again, the same."""

    async def publish(self) -> None:
        """The files are where they are wanted; an empty result is an empty folder."""
        await self._lane.call(self._publish)

    async def close(self) -> None:
        """Let the file that is being written be whole."""
        await self._lane.close(lambda: None)

    def _publish(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files.remove_below(self._folder)

    def _path(self, name: str) -> Path:
        parts = name.split("/")
        if any(part in ("", ".", "..") or part.startswith(".") for part in parts) or "\\" in name:
            raise UnprocessableError(f"{name[:80]!r} names no file of the folder; correct the template 'id'")
        if any(character < " " for character in name):
            raise UnprocessableError(f"{name[:80]!r} holds a control character; correct the template 'id'")
        if max(len(part.encode("utf-8", "replace")) for part in parts) > self._longest_name:
            raise UnprocessableError(f"{name[:80]!r} is too long for the name of a file; correct the template 'id'")
        return self._folder.joinpath(*parts)

    def _write(self, files: dict[Path, str]) -> None:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.parent.resolve().is_relative_to(self._folder):
                raise UnprocessableError(f"{path} leads out of the folder through a link; remove the link")
            unfinished = self._files.beside(path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            try:
                with os.fdopen(os.open(unfinished, flags, 0o666), "wb") as file:
                    file.write(text.encode("utf-8", "replace"))
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(unfinished, path)
            except OSError:
                unfinished.unlink(missing_ok=True)
                raise
            self._changed.add(path.parent)


def _sync_all(folders: set[Path]) -> None:
    for folder in folders:
        sync_folder(folder)
