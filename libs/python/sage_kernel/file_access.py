"""Which files a pipeline may touch. A pipeline from the network is confined to the roots that the operator allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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


ANY_FILE = FileAccess(roots=None)
