"""Names of what an attempt of a run writes before its result is whole.

No two attempts share a name: one that was stopped for a while and has been taken over since may wake up in the middle
of a write, and what it writes then must be nobody's.
"""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path

_TOKEN_BYTES = 6
# What an attempt's name adds to that of its result, beside the id of its run.
ADDED_CHARACTERS = 2 * _TOKEN_BYTES + 3


class AttemptFiles:
    """The names of one attempt.

    Args:
        run_id: of the run, the same in all of its attempts.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._token = secrets.token_hex(_TOKEN_BYTES)
        self._suffix = re.compile(rf"\.{re.escape(run_id)}\.[0-9a-f]{{{2 * _TOKEN_BYTES}}}(\.[a-z]+)?")

    def beside(self, path: Path, suffix: str = "") -> Path:
        """Return where this attempt writes what becomes ``path``."""
        return path.with_name(f".{path.name}.{self._run_id}.{self._token}{suffix}")

    def remove_all(self, path: Path) -> None:
        """Remove what the attempts of this run have left beside ``path``. Raises OSError."""
        for entry in path.parent.iterdir():
            if entry.name.startswith(f".{path.name}.") and self._suffix.fullmatch(entry.name, len(path.name) + 1):
                _remove(entry)

    def remove_below(self, folder: Path) -> None:
        """Remove what the attempts of this run have left anywhere below ``folder``. Raises OSError."""
        for entry in folder.rglob(f".*.{self._run_id}.*"):
            at = entry.name.rfind(f".{self._run_id}.")
            if self._suffix.fullmatch(entry.name, at):
                _remove(entry)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
