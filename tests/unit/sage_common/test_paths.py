"""XDG paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage_common import paths


def test_the_environment_is_read_at_call_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")
    assert paths.log_dir() == Path("/elsewhere/sage/logs")


def test_a_relative_base_is_ignored_as_the_specification_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert paths.cache_dir() == Path.home() / ".cache/sage"


def test_a_private_directory_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    made = paths.private_dir(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
