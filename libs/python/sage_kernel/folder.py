"""Finding the documents of a folder, and saying why the other files were left out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sage_common.errors import NotFoundError, TooLargeError
from sage_libs.loaders import LOADERS

# Folders of other people's files, which a question about this folder is never about.
_FOREIGN_FOLDERS = frozenset({"node_modules", "__pycache__", "site-packages"})


@dataclass
class FolderListing:
    """Files of a folder, paths relative to it, sorted.

    Attributes:
        files: what can be read.
        skipped: path and reason of what is left out; a folder that is left out appears once, with a slash.
    """

    files: list[Path] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def list_documents(folder: Path, *, max_file_bytes: int, max_files: int) -> FolderListing:
    """List the documents under ``folder`` (absolute, links followed).

    Raises:
        NotFoundError: there is no such folder.
        TooLargeError: it holds more than ``max_files`` documents.
    """
    if not folder.is_dir():
        kind = "a file, not a folder" if folder.exists() else "not there"
        raise NotFoundError(f"{folder} is {kind}; name a folder of documents ({', '.join(LOADERS)})")
    listing = FolderListing()
    for path in _walk(folder, folder, listing):
        reason = _reason_against(folder, path, max_file_bytes)
        if reason:
            listing.skipped.append((str(path), reason))
            continue
        listing.files.append(path)
        if len(listing.files) > max_files:
            raise TooLargeError(
                f"{folder} holds more than {max_files} documents; choose a smaller folder or raise max_files"
            )
    return listing


def _walk(root: Path, folder: Path, listing: FolderListing) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        listing.skipped.append((f"{folder.relative_to(root)}/", _os_reason(error)))
        return
    for entry in entries:
        path = Path(entry.path)
        relative = path.relative_to(root)
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name.startswith("."):
            listing.skipped.append((f"{relative}/" if is_folder else str(relative), "hidden"))
        elif is_folder and (entry.name in _FOREIGN_FOLDERS or (path / "pyvenv.cfg").exists()):
            listing.skipped.append((f"{relative}/", "installed packages, not documents"))
        elif is_folder:
            yield from _walk(root, path, listing)
        else:
            yield relative


def _reason_against(root: Path, path: Path, max_file_bytes: int) -> str:
    absolute = root / path
    try:
        if absolute.is_symlink() and not absolute.resolve(strict=True).is_relative_to(root):
            return "a link that leads out of the folder"
        status = absolute.stat()
    except OSError as error:
        return _os_reason(error)
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if path.suffix.lower() not in LOADERS:
        return f"{path.suffix or 'no suffix'} is not a format that is read"
    if status.st_size == 0:
        return "empty"
    if status.st_size > max_file_bytes:
        return f"{status.st_size} bytes, over the limit of {max_file_bytes}"
    return ""


def _os_reason(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"
