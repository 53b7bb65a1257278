from __future__ import annotations

from pathlib import Path

import pytest

from sage_platform.supervision import process_log
from sage_platform.supervision.process_log import last_lines, log_path, open_log


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
