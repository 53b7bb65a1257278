"""One line a second for each kind of fault, with the count of those that were left out.

What goes wrong once for a message goes wrong for a hundred thousand of them, and the log of it must fill no disk.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

# Fields that tell faults of one call site apart. Ids of requests are not among them: each has its own.
KEY_FIELDS = ("subject", "engine", "pool", "process", "task", "part", "bucket", "service", "file")
# Keys of one call site, and call sites, that are kept apart; what exceeds them shares a line.
MAX_KEYS = 10
MAX_KINDS = 1000
_OTHERS = "…"

_Key = tuple[str, ...]


@dataclass
class _Repeats:
    """Lines of one kind and key since the last one that was shown."""

    shown_at: float
    left_out: int = 0
    latest: logging.LogRecord | None = None


class RepeatLimit(logging.Filter):
    """Filter of a handler: passes the first warning or error of a kind, and from then on one each ``seconds``.

    A kind is a call site: its logger, level and event, with the values of KEY_FIELDS. A line that stands for others has
    their count as ``suppressed``. Where an event loop runs, the last line of a burst comes after ``seconds`` by itself.

    Args:
        seconds: 0 passes everything.
        emit: writes a record past this filter.
        now: monotonic seconds.
    """

    def __init__(
        self, seconds: float, emit: Callable[[logging.LogRecord], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._seconds = seconds
        self._emit = emit
        self._now = now
        self._lock = threading.Lock()
        self._kinds: dict[_Key, dict[_Key, _Repeats]] = {}
        self._flush_due = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown now."""
        if record.levelno < logging.WARNING or not self._seconds:
            return True
        with self._lock:
            now = self._now()
            repeats = self._repeats(record, now)
            if repeats is None:
                return True
            if now - repeats.shown_at < self._seconds:
                repeats.left_out += 1
                repeats.latest = record
                self._have_flushed()
                return False
            _count(record, repeats.left_out)
            repeats.shown_at, repeats.left_out, repeats.latest = now, 0, None
            return True

    def flush(self) -> None:
        """Show what has been left out of the kinds that may be shown again, and forget those that are quiet."""
        shown = []
        with self._lock:
            self._flush_due = False
            now = self._now()
            for keys in self._kinds.values():
                for repeats in keys.values():
                    if repeats.latest is not None and now - repeats.shown_at >= self._seconds:
                        _count(repeats.latest, repeats.left_out - 1)
                        shown.append(repeats.latest)
                        repeats.shown_at, repeats.left_out, repeats.latest = now, 0, None
            self._forget_quiet(now)
            if any(repeats.latest for keys in self._kinds.values() for repeats in keys.values()):
                self._have_flushed()
        for record in shown:
            self._emit(record)

    def _repeats(self, record: logging.LogRecord, now: float) -> _Repeats | None:
        """What is known of the record's kind; None for the first of it."""
        kind, key = _kind_and_key(record)
        if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
            self._forget_quiet(now)
            if len(self._kinds) >= MAX_KINDS:
                kind = (_OTHERS,)
        keys = self._kinds.setdefault(kind, {})
        if key not in keys and len(keys) >= MAX_KEYS:
            key = (_OTHERS,)
        known = keys.get(key)
        if known is None:
            keys[key] = _Repeats(now)
        return known

    def _forget_quiet(self, now: float) -> None:
        for kind, keys in list(self._kinds.items()):
            for key, repeats in list(keys.items()):
                if repeats.latest is None and now - repeats.shown_at >= self._seconds:
                    del keys[key]
            if not keys:
                del self._kinds[kind]

    def _have_flushed(self) -> None:
        if self._flush_due:
            return
        try:
            asyncio.get_running_loop().call_later(self._seconds, self.flush)
        except RuntimeError:
            return  # no loop in this thread: the next line of the kind has the count
        self._flush_due = True


def _kind_and_key(record: logging.LogRecord) -> tuple[_Key, _Key]:
    event = record.msg
    if isinstance(event, dict):
        key = tuple(str(event[field])[:200] for field in KEY_FIELDS if field in event)
        return (record.name, record.levelname, str(event.get("event", ""))[:200]), key
    return (record.name, record.levelname, str(event)[:200]), ()


def _count(record: logging.LogRecord, left_out: int) -> None:
    if left_out <= 0:
        return
    if isinstance(record.msg, dict):
        record.msg = {**record.msg, "suppressed": left_out}
    else:
        record.msg = f"{record.msg} ({left_out} more like this)"
