"""What a simulated engine sent, per request: the other half of a byte-for-byte comparison with what clients got.

With a journal the record survives ``kill -9``: what is about to be sent is written to the file first, one system call
for all tokens of a step.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import orjson

from sage_benchmark.simulated_engine.answer_text import answer_text

RUNNING: Final = "running"
COMPLETE: Final = "complete"
CANCELLED: Final = "cancelled"
CUT_OFF: Final = "cut_off"


@dataclass(slots=True)
class RecordEntry:
    """One request that the engine took.

    Attributes:
        number: of the request in this engine, from 1 on.
        name: identity; see ``answer_text``.
        request_id: ``X-Request-Id`` as it came.
        first: first token of the answer that was sent; above 0 for a continued one.
        until: one past the last token that was sent.
        state: ``running``, ``complete``, ``cancelled`` (the client went away) or ``cut_off`` (by a fault).
        received_at, finished_at: seconds of the engine's clock.
    """

    number: int
    name: str
    request_id: str
    kind: str
    first: int = 0
    until: int = 0
    state: str = RUNNING
    received_at: float = 0.0
    finished_at: float = 0.0

    @property
    def text(self) -> str:
        """The text that was sent."""
        return answer_text(self.name, self.first, self.until)

    def to_json(self) -> dict[str, Any]:
        """As plain values, with the text."""
        return {**asdict(self), "text": self.text}


class EngineRecord:
    """Keeps the last ``limit`` requests, and all of them in the journal if there is one."""

    def __init__(self, journal: Path | None = None, limit: int = 100_000) -> None:
        self._entries: deque[RecordEntry] = deque(maxlen=limit)
        self._number = 0
        self._file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if journal is not None else None

    @property
    def entries(self) -> list[RecordEntry]:
        """The requests, oldest first."""
        return list(self._entries)

    def begin(self, name: str, request_id: str, kind: str, first: int, now: float) -> RecordEntry:
        """A request was taken."""
        self._number += 1
        entry = RecordEntry(self._number, name, request_id, kind, first, first, received_at=now)
        self._entries.append(entry)
        if self._file is not None:
            os.write(self._file, orjson.dumps(asdict(entry)) + b"\n")
        return entry

    def sending(self, progress: Sequence[tuple[RecordEntry, int]]) -> None:
        """These requests are about to be sent everything before this token."""
        for entry, until in progress:
            entry.until = until
        if self._file is not None:
            lines = [b'{"number":%d,"until":%d}\n' % (entry.number, until) for entry, until in progress]
            os.write(self._file, b"".join(lines))

    def end(self, entry: RecordEntry, state: str, now: float) -> None:
        """A request ended."""
        entry.state = state
        entry.finished_at = now
        if self._file is not None:
            value = {"number": entry.number, "state": state, "finished_at": now}
            os.write(self._file, orjson.dumps(value) + b"\n")

    def close(self) -> None:
        """Close the journal."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_journal(path: Path) -> list[RecordEntry]:
    """Read a journal; a last line that a kill has cut short is left out."""
    entries: dict[int, RecordEntry] = {}
    known = {field.name for field in fields(RecordEntry)}
    for line in path.read_bytes().split(b"\n")[:-1]:
        value: dict[str, Any] = orjson.loads(line)
        if "name" in value:
            entries[value["number"]] = RecordEntry(**{key: value[key] for key in known})
            continue
        entry = entries[value["number"]]
        for key, given in value.items():
            setattr(entry, key, given)
    return list(entries.values())
