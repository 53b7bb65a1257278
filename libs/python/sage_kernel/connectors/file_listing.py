"""The files that a source names: one, or all that a pattern matches."""

from __future__ import annotations

import glob
from pathlib import Path

from sage_common.errors import NotFoundError, TooLargeError
from sage_kernel.file_access import FileAccess


def list_files(pattern: str, files: FileAccess, max_files: int) -> list[Path]:
    """Return the files that ``pattern`` matches (``*``, ``?``, ``[…]``, ``**`` for folders), sorted, links followed.

    Raises:
        NotFoundError: there is none.
        TooLargeError: there are more than ``max_files``.
        PermissionDeniedError: one of them lies outside the allowed folders.
    """
    if not glob.has_magic(pattern):
        path = files.check(Path(pattern))
        if not path.exists():
            raise NotFoundError(f"{path} is not there; correct the path or put the file there")
        if path.is_dir():
            raise NotFoundError(f"{path} is a folder; name its files, as {path}/*")
        return [path]
    plain = Path(plain_part(pattern))
    files.check(plain)
    found: list[Path] = []
    for name in glob.iglob(str(Path(pattern).expanduser()), recursive=True):
        if Path(name).is_dir():
            continue
        found.append(files.check(Path(name)))
        if len(found) > max_files:
            raise TooLargeError(f"more than {max_files} files match {pattern}; narrow it or raise max_files")
    if not found:
        raise NotFoundError(f"no file matches {pattern} (looked in {files.check(plain)}); correct it")
    return sorted(set(found))


def plain_part(pattern: str) -> str:
    """Return the path of a pattern as far as its first wildcard."""
    parts: list[str] = []
    for part in Path(pattern).parts:
        if glob.has_magic(part):
            break
        parts.append(part)
    return str(Path(*parts))
