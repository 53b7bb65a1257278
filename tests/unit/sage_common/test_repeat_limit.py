"""Faults that come again and again fill no disk."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys

from sage_common.repeat_limit import MAX_KEYS, RepeatLimit


class Log:
    """A handler with the filter before it, a clock that the test sets, and what was written."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.time = 0.0
        self.written: list[str] = []
        self.limit = RepeatLimit(seconds, lambda record: self.written.append(self._text(record)), lambda: self.time)

    def write(self, event: object, level: int = logging.WARNING, **fields: object) -> None:
        message = {"event": event, **fields} if fields else event
        record = logging.LogRecord("here", level, __file__, 1, message, (), None)
        if self.limit.filter(record):
            self.written.append(self._text(record))

    @staticmethod
    def _text(record: logging.LogRecord) -> str:
        if isinstance(record.msg, dict):
            return " ".join(str(value) for value in record.msg.values())
        return record.getMessage()


def test_the_first_of_a_kind_is_written_and_one_a_second_from_then_on_with_a_count() -> None:
    log = Log()
    for millisecond in range(2500):
        log.time = millisecond / 1000
        log.write("unreadable batch", subject="sage.v1.classify", bytes=millisecond)
    assert log.written == [
        "unreadable batch sage.v1.classify 0",
        "unreadable batch sage.v1.classify 1000 999",
        "unreadable batch sage.v1.classify 2000 999",
    ]


def test_kinds_and_keys_do_not_hide_each_other() -> None:
    log = Log()
    log.write("a", subject="1")
    log.write("a", subject="2")
    log.write("b", subject="1")
    log.write("a", logging.ERROR, subject="1")
    log.write("plain text")
    assert len(log.written) == 5


def test_keys_that_a_caller_makes_up_share_a_line() -> None:
    log = Log()
    for number in range(10_000):
        log.write("no such subject", subject=f"made-up-{number}")
    assert len(log.written) <= MAX_KEYS + 1


def test_kinds_that_a_caller_makes_up_are_bounded() -> None:
    log = Log()
    for number in range(10_000):
        log.write(f"made up {number}")
    assert len(log.written) <= 1001


def test_what_is_no_fault_is_all_written() -> None:
    log = Log()
    for _ in range(10):
        log.write("job ended", logging.INFO)
    assert len(log.written) == 10


def test_zero_seconds_write_everything() -> None:
    log = Log(seconds=0)
    for _ in range(10):
        log.write("x")
    assert len(log.written) == 10


async def test_the_end_of_a_burst_is_written_by_itself() -> None:
    written: list[logging.LogRecord] = []
    arrived = asyncio.Event()

    def emit(record: logging.LogRecord) -> None:
        written.append(record)
        arrived.set()

    limit = RepeatLimit(0.02, emit)
    for number in range(5):
        limit.filter(logging.LogRecord("here", logging.ERROR, __file__, 1, {"event": "x", "n": number}, (), None))
    await asyncio.wait_for(arrived.wait(), 5)
    assert [record.msg for record in written] == [{"event": "x", "n": 4, "suppressed": 3}]


def test_every_service_has_the_limit_for_its_own_lines_and_those_of_libraries() -> None:
    program = (
        "import logging\n"
        "from sage_common.logging import configure_logging, get_logger\n"
        "from sage_common.service_settings import LogSettings\n"
        "configure_logging(LogSettings(format='json', repeat_seconds=60), service='s', instance='i')\n"
        "for number in range(100):\n"
        "    get_logger('mine').warning('unreadable batch dropped', subject='a', bytes=number)\n"
        "    logging.getLogger('nats').error('nats: encountered error %d', number)\n"
    )
    written = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stderr
    events = [json.loads(line)["event"] for line in written.splitlines()]
    assert events == ["unreadable batch dropped", "nats: encountered error 0"]
