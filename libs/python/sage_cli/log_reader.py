"""Reading the processes' log files: the last lines, and new ones as they come."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from sage_common.config import nearest
from sage_common.errors import NotFoundError
from sage_platform.supervision.process_log import last_lines

POLL_SECONDS = 0.2
# nats-server writes "[pid] 2026/11/23 10:20:30.123456 [INF] words", in UTC as SAGE configures it.
NATS_TIME = re.compile(r"\[\d+\] (\d{4})/(\d\d)/(\d\d) (\d\d:\d\d:\d\d\.\d+)")
# Shown by the columns before the event, or the same on every line of a file.
SHOWN_APART = frozenset({"timestamp", "level", "event", "service", "instance"})


def chosen_logs(directory: Path, name: str | None) -> list[Path]:
    """Return the log files to show: all, or those of one process and of its further replicas.

    Raises:
        NotFoundError: there are none.
    """
    files = sorted(directory.glob("*.log"), key=lambda file: file.stem)
    if not files:
        raise NotFoundError(f"no logs in {directory} yet; `sage up` starts what writes them")
    if name is None:
        return files
    wanted = name.lower().replace("_", "-")
    chosen = [file for file in files if file.stem == wanted or _service_of(file) == wanted]
    if not chosen:
        raise NotFoundError(f"no log of {name!r}{nearest(wanted, [file.stem for file in files])}")
    return chosen


class LogReader:
    """Reads several log files as one.

    Args:
        raw: lines as they are; otherwise JSON lines become time, level, event and fields.
        as_json: each line as a JSON object with its ``process``, its ``line``, and the ``fields`` of a line of JSON.
    """

    def __init__(self, files: list[Path], *, raw: bool, as_json: bool = False) -> None:
        self._files = files
        self._raw = raw
        self._as_json = as_json
        self._width = max(len(file.stem) for file in files) if len(files) > 1 else 0

    def last(self, count: int) -> Iterator[str]:
        """Yield the last ``count`` lines of all files together, oldest first."""
        lines = [
            (_time_of(line), number, file, line)
            for file in self._files
            for number, line in enumerate(last_lines(file, count))
        ]
        # Lines without a time of their own (a traceback) stay behind the line before them.
        ordered: list[tuple[str, str, int, Path, str]] = []
        time = ""
        for own, number, file, line in lines:
            time = own or ("" if number == 0 else time)
            ordered.append((time, file.stem, number, file, line))
        for _, _, _, file, line in sorted(ordered)[-count:] if count else []:
            yield self._shown(file, line)

    async def follow(self, show: Callable[[str], None]) -> None:
        """Call ``show`` with each further line, for ever. A file that is rotated is followed into its successor."""
        positions = {file: _size(file) for file in self._files}
        identities = {file: _inode(file) for file in self._files}
        while True:
            for file in self._files:
                if _inode(file) != identities[file] or _size(file) < positions[file]:
                    identities[file], positions[file] = _inode(file), 0
                for line, end in _whole_lines(file, positions[file]):
                    positions[file] = end
                    show(self._shown(file, line))
            await asyncio.sleep(POLL_SECONDS)

    def _shown(self, file: Path, line: str) -> str:
        if self._as_json:
            return json.dumps({"process": file.stem, "line": line, "fields": _record(line)})
        text = line if self._raw else readable(line)
        return f"{file.stem:<{self._width}} | {text}" if self._width else text


def readable(line: str) -> str:
    """Turn a JSON log line into ``time level event field=value …``; leave any other line as it is."""
    record = _record(line)
    if record is None:
        return line
    fields = " ".join(f"{name}={_value(value)}" for name, value in record.items() if name not in SHOWN_APART)
    time = _local_time(str(record.get("timestamp", "")))
    return f"{time} {record.get('level', ''):<7} {record['event']} {fields}".rstrip()


def _record(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and "event" in record else None


def _time_of(line: str) -> str:
    record = _record(line)
    if record is not None:
        return str(record.get("timestamp", ""))
    match = NATS_TIME.match(line)
    return "{}-{}-{}T{}Z".format(*match.groups()) if match else ""


def _local_time(timestamp: str) -> str:
    try:
        # Python 3.10 does not read the Z of UTC.
        moment = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    except ValueError:
        return timestamp
    return moment.astimezone().strftime("%H:%M:%S.%f")[:-3]


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) and (" " in text or not text) else text


def _service_of(file: Path) -> str:
    stem, _, number = file.stem.rpartition("-")
    return stem if number.isdecimal() else file.stem


def _whole_lines(file: Path, position: int) -> Iterator[tuple[str, int]]:
    """Yield complete lines from ``position`` on with the position behind each; half a line waits for its end."""
    if not file.exists():
        return
    with file.open("rb") as stream:
        stream.seek(position)
        for line in stream:
            if not line.endswith(b"\n"):
                return
            position += len(line)
            yield line.decode("utf-8", "replace").rstrip("\n"), position


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _inode(file: Path) -> int:
    return file.stat().st_ino if file.exists() else 0
