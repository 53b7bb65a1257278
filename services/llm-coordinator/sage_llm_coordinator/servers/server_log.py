"""The log file of a server that another program writes: read as it grows, and its last lines kept."""

from __future__ import annotations

from collections import deque
from pathlib import Path

LINES_KEPT = 40
# In one read; a server that writes faster is caught up with in the next.
MAX_READ_BYTES = 1024 * 1024


class ServerLog:
    """Reads a log from ``offset`` bytes on."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self._offset = offset
        self._unfinished = b""
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)

    @property
    def tail(self) -> str:
        """The last lines that were read."""
        return "\n".join(self._lines)

    def read(self) -> list[str]:
        """Return the whole lines that were written since the last call, without empty ones."""
        if log_size(self.path) < self._offset:
            self._offset, self._unfinished = 0, b""  # it was rotated
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(MAX_READ_BYTES)
        except FileNotFoundError:
            return []
        self._offset += len(data)
        # A progress bar rewrites its line with carriage returns.
        *whole, self._unfinished = (self._unfinished + data).replace(b"\r", b"\n").split(b"\n")
        lines = [text for line in whole if (text := line.decode("utf-8", "replace").rstrip())]
        self._lines.extend(lines)
        return lines


def log_size(path: Path) -> int:
    """Return the bytes in a log; 0 where there is none yet."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
