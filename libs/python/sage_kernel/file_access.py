"""Which files a pipeline may touch. A pipeline from the network is confined to the roots that the operator allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sage_common.errors import PermissionDeniedError


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
            PermissionDeniedError: it lies outside every root.
        """
        resolved = path.expanduser().resolve()
        if self.roots is None or any(resolved.is_relative_to(root.expanduser().resolve()) for root in self.roots):
            return resolved
        allowed = ", ".join(str(root) for root in self.roots) or "none"
        raise PermissionDeniedError(
            f"{resolved} is outside the folders that pipelines may use (allowed: {allowed}); "
            f"add its folder to {self.setting} or move the files",
            code="path_not_allowed",
        )


ANY_FILE = FileAccess(roots=None)
