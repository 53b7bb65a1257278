"""Finding the documents of a folder, and saying why the other files were left out."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from sage_common.errors import NotFoundError, TooLargeError
from sage_kernel.gitignore import GitIgnore
from sage_libs.loaders import LOADERS, format_of

# Folders of other people's files, which a question about this folder is never about.
_FOREIGN_FOLDERS = frozenset({"node_modules", "__pycache__", "site-packages"})
# What programs write from sources, and lists of versions for programs to read.
_BUILT_FOLDER = re.compile(r"(?:build|dist|target|_build|htmlcov|CMakeFiles|.*\.(?:egg|dist)-info)\Z")
_FOR_PROGRAMS = re.compile(
    r"(?:(?:.*[-_.])?(?:requirements|constraints)(?:[-_.].*)?\.txt|CMake(?:Lists|Cache)\.txt|(?:.*[-_.])?lock\.txt|"
    r"robots\.txt)\Z",
    re.IGNORECASE,
)


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
    """List the documents under ``folder`` (absolute, links followed), without what ``.gitignore`` leaves out.

    Raises:
        NotFoundError: there is no such folder.
        TooLargeError: it holds more than ``max_files`` documents.
    """
    if not folder.is_dir():
        kind = "not a folder" if folder.exists() else "not there"
        raise NotFoundError(f"{folder} is {kind}; name a document or a folder of them ({', '.join(LOADERS)})")
    listing = FolderListing()
    for path in _walk(folder, folder, listing, GitIgnore(folder)):
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


def list_one(file: Path, *, max_file_bytes: int) -> FolderListing:
    """List one document by its folder's standards, but for its name: whoever names a file wants it read."""
    listing = FolderListing()
    reason = _reason_against(file.parent, Path(file.name), max_file_bytes, named=True)
    if reason:
        listing.skipped.append((file.name, reason))
    else:
        listing.files.append(Path(file.name))
    return listing


def _walk(root: Path, folder: Path, listing: FolderListing, ignore: GitIgnore) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        listing.skipped.append((f"{folder.relative_to(root)}/", _os_reason(error)))
        return
    below_root = len(str(root).rstrip("/")) + 1
    for entry in entries:
        if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False) and not format_of(entry.name):
            # Most files of a source tree: their names say enough, and rules and states cost more.
            listing.skipped.append((entry.path[below_root:], _no_format(entry.name)))
            continue
        path = Path(entry.path)
        relative = path.relative_to(root)
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name.startswith("."):
            listing.skipped.append((f"{relative}/" if is_folder else str(relative), "hidden"))
        elif is_folder and (entry.name in _FOREIGN_FOLDERS or (path / "pyvenv.cfg").exists()):
            listing.skipped.append((f"{relative}/", "installed packages, not documents"))
        elif is_folder and _BUILT_FOLDER.match(entry.name):
            listing.skipped.append((f"{relative}/", "build output"))
        elif ignore.leaves_out(path, is_folder=is_folder):
            listing.skipped.append((f"{relative}/" if is_folder else str(relative), "left out by .gitignore"))
        elif is_folder:
            yield from _walk(root, path, listing, ignore)
        else:
            yield relative


def _reason_against(root: Path, path: Path, max_file_bytes: int, *, named: bool = False) -> str:
    absolute = root / path
    try:
        if absolute.is_symlink() and not absolute.resolve(strict=True).is_relative_to(root):
            return "a link that leads out of the folder"
        status = absolute.stat()
    except OSError as error:
        return _os_reason(error)
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if format_of(path.name) is None:
        return _no_format(path.name)
    if not named and _FOR_PROGRAMS.match(path.name):
        return "a list for programs, not a document"
    if status.st_size == 0:
        return "empty"
    if status.st_size > max_file_bytes:
        return f"{status.st_size} bytes, over the limit of {max_file_bytes}"
    return ""


def _no_format(name: str) -> str:
    return f"{PurePath(name).suffix or 'no suffix'} is not a format that is read"


def _os_reason(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"
