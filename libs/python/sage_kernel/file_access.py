"""Which files a pipeline may touch. A pipeline from the network is confined to the roots that the operator allows."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sage_common.errors import InvalidRequestError, PermissionDeniedError

# PATH_MAX of Linux: no longer one can be opened.
MAX_PATH_CHARACTERS = 4096


@dataclass(frozen=True)
class FileAccess:
    """A rule for paths.

    Attributes:
        roots: folders under which everything is allowed; None allows every path, an empty tuple none.
        setting: the setting to name in the error.
    """

    roots: tuple[Path, ...] | None
    setting: str = ""

    def check(self, path: Path) -> Path:
        """Return the absolute path behind ``path``, links followed.

        Raises:
            InvalidRequestError: it cannot be a path.
            PermissionDeniedError: it lies outside every root.
        """
        text = str(path)
        if len(text) > MAX_PATH_CHARACTERS:
            raise InvalidRequestError(f"a path of {len(text)} characters; use at most {MAX_PATH_CHARACTERS}")
        try:
            resolved = path.expanduser().resolve()
        except (OSError, RuntimeError, ValueError) as error:
            # A NUL, half a surrogate pair, the home of a user that there is not, a loop of links.
            raise InvalidRequestError(f"{text[:80]!r} is not a path ({error}); correct it") from None
        if self.roots is None or any(resolved.is_relative_to(root.expanduser().resolve()) for root in self.roots):
            return resolved
        allowed = ", ".join(str(root) for root in self.roots) or "none"
        raise PermissionDeniedError(
            f"{resolved} is outside the folders that pipelines may use (allowed: {allowed}); "
            f"add its folder to {self.setting} or move the files",
            code="path_not_allowed",
        )

    def open(self, path: Path) -> IO[bytes]:
        """Open a regular file to read it, and make sure that what was opened is what was allowed.

        Between the check of a path and its opening a folder may have become a link: the opened file is looked at again.

        Raises:
            InvalidRequestError, PermissionDeniedError: as ``check``; it is no regular file.
            OSError: it cannot be opened.
        """
        resolved = self.check(path)
        # Without O_NONBLOCK the opening of a named pipe would wait for its writer.
        descriptor = os.open(resolved, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidRequestError(f"{resolved} is not a regular file; name one")
            self._check_opened(descriptor, resolved)
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise

    def _check_opened(self, descriptor: int, resolved: Path) -> None:
        if self.roots is None:
            return
        link = Path(f"/proc/self/fd/{descriptor}")
        # Where there is no /proc, the path is followed once more, and must lead to the same file.
        opened = self.check(Path(os.readlink(link)) if link.parent.is_dir() else resolved)
        there = os.stat(opened, follow_symlinks=False)
        if not os.path.samestat(there, os.fstat(descriptor)):
            raise PermissionDeniedError(
                f"{resolved} was replaced while it was opened; let nothing else write there, and try again",
                code="path_not_allowed",
            )


ANY_FILE = FileAccess(roots=None)
