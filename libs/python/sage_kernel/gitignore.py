"""What ``.gitignore`` files leave out of a folder: git's rules, the deepest file first."""

from __future__ import annotations

from pathlib import Path

from pathspec import GitIgnoreSpec

FILE = ".gitignore"


class GitIgnore:
    """The rules for a folder and all below it: its own files' and those of the repository that it is in.

    Args:
        root: the folder, absolute. Rules above it that leave the folder itself out are not heeded: it was asked for.
    """

    def __init__(self, root: Path) -> None:
        self._specs: dict[Path, GitIgnoreSpec | None] = {}
        self._top = root
        top = _repository_of(root)
        if top is not None and top != root:
            self._top = top
            if self.leaves_out(root, is_folder=True):
                self._top = root

    def leaves_out(self, path: Path, *, is_folder: bool) -> bool:
        """Return whether the rules leave out ``path``, which is below the root and whose folders are not left out."""
        for folder in path.parents:
            spec = self._spec(folder)
            if spec is not None:
                name = path.relative_to(folder).as_posix()
                verdict = spec.check_file(f"{name}/" if is_folder else name).include
                if verdict is not None:
                    return bool(verdict)
            if folder == self._top:
                break
        return False

    def _spec(self, folder: Path) -> GitIgnoreSpec | None:
        if folder not in self._specs:
            try:
                lines = (folder / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                self._specs[folder] = None
            else:
                self._specs[folder] = GitIgnoreSpec.from_lines(lines)
        return self._specs[folder]


def _repository_of(folder: Path) -> Path | None:
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)
