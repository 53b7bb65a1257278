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
        # By folder, the rules that hold in it, the nearest first, each with where a path's part that they read begins.
        self._rules: dict[Path, tuple[tuple[GitIgnoreSpec, int], ...]] = {}
        self._top = root
        top = _repository_of(root)
        if top is not None and top != root:
            self._top = top
            if self.leaves_out(root, is_folder=True):
                self._top = root
                self._rules.clear()

    def leaves_out(self, path: Path, *, is_folder: bool) -> bool:
        """Return whether the rules leave out ``path``, which is below the root and whose folders are not left out."""
        name = f"{path.as_posix()}/" if is_folder else path.as_posix()
        for spec, start in self._rules_of(path.parent):
            verdict = spec.check_file(name[start:]).include
            if verdict is not None:
                return bool(verdict)
        return False

    def _rules_of(self, folder: Path) -> tuple[tuple[GitIgnoreSpec, int], ...]:
        rules = self._rules.get(folder)
        if rules is None:
            above = () if folder in (self._top, folder.parent) else self._rules_of(folder.parent)
            try:
                lines = (folder / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                rules = above
            else:
                start = len(folder.as_posix().rstrip("/")) + 1
                rules = ((GitIgnoreSpec.from_lines(lines), start), *above)
            self._rules[folder] = rules
        return rules


def _repository_of(folder: Path) -> Path | None:
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)
