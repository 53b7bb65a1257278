from __future__ import annotations

import os
from pathlib import Path

import pytest

from sage_platform.supervision import process_log
from sage_platform.supervision.process_log import LogLimits, LogRotation, last_lines, log_path, open_log


def _write(path: Path, content: bytes) -> None:
    with open_log(path) as file:
        file.write(content)


def test_a_log_within_the_limit_is_appended_to(tmp_path: Path) -> None:
    path = log_path(tmp_path, "gateway")
    _write(path, b"one\n")
    _write(path, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_log_past_the_limit_is_rotated_and_the_oldest_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_log, "ROTATE_BYTES", 4)
    path = log_path(tmp_path, "gateway")
    for number in range(6):
        _write(path, b"line %d\n" % number)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["gateway.log", "gateway.log.1", "gateway.log.2", "gateway.log.3"]
    assert path.read_bytes() == b"line 5\n"
    assert (tmp_path / "gateway.log.3").read_bytes() == b"line 2\n"


def test_a_log_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = log_path(tmp_path, "gateway")
    _write(path, b"secret\n")
    assert path.stat().st_mode & 0o077 == 0


def test_last_lines_skips_what_an_earlier_start_wrote(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"old\nnew 1\nnew 2\n")
    assert last_lines(path, 10, from_byte=4) == ["new 1", "new 2"]
    assert last_lines(path, 1) == ["new 2"]


def test_last_lines_of_a_missing_log_are_none(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "absent.log", 5) == []


def test_last_lines_of_a_log_that_was_cut_meanwhile_are_those_it_has(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"new\n")
    assert last_lines(path, 10, from_byte=1000) == ["new"]


def test_a_log_is_rotated_while_a_process_writes_to_it(tmp_path: Path) -> None:
    rotation = LogRotation(tmp_path, LogLimits(max_file_bytes=100, kept_files=2))
    path = log_path(tmp_path, "gateway")
    lines = [f"line {number:04}\n" for number in range(60)]
    with open_log(path) as file:
        for line in lines:
            file.write(line.encode())
            file.flush()
            rotation.rotate()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["gateway.log", "gateway.log.1", "gateway.log.2"]
    kept = "".join((tmp_path / f"gateway.log{suffix}").read_text() for suffix in (".2", ".1", ""))
    assert kept == "".join(lines[-(len(kept) // len(lines[0])) :])
    assert all(file.stat().st_size <= 110 for file in tmp_path.iterdir())


def test_engines_logs_below_the_directory_are_rotated_too(tmp_path: Path) -> None:
    path = log_path(tmp_path / "engines", "vllm-1")
    _write(path, b"x" * 500)
    LogRotation(tmp_path, LogLimits(max_file_bytes=100)).rotate()
    assert path.stat().st_size == 0
    assert (tmp_path / "engines" / "vllm-1.log.1").stat().st_size == 500


def test_all_logs_together_stay_within_the_cap_and_the_oldest_go_first(tmp_path: Path) -> None:
    for age, name in enumerate(("a.log.1", "b.log.2", "c.log.1")):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    _write(log_path(tmp_path, "a"), b"x" * 100)
    LogRotation(tmp_path, LogLimits(max_file_bytes=100, max_total_bytes=250)).rotate()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.log", "c.log.1"]
    LogRotation(tmp_path, LogLimits(max_file_bytes=100, max_total_bytes=50)).rotate()
    assert [(file.name, file.stat().st_size) for file in tmp_path.iterdir()] == [("a.log", 0)]
