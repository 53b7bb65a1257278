from __future__ import annotations

import os
from pathlib import Path

import pytest

from sage_common.errors import InvalidRequestError, PermissionDeniedError
from sage_kernel.file_access import ANY_FILE, FileAccess


def test_an_allowed_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    for files in (ANY_FILE, FileAccess((tmp_path,))):
        with files.open(tmp_path / "a") as file:
            assert file.read() == b"x"


def test_links_out_of_the_roots_pipes_and_folders_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("x")
    (root / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(root / "pipe")
    files = FileAccess((root,), "allowed_roots")
    with pytest.raises(PermissionDeniedError, match="add its folder to allowed_roots"):
        files.open(root / "link")
    for name in ("pipe", "."):
        with pytest.raises(InvalidRequestError, match="not a regular file"):
            files.open(root / name)


def test_a_folder_that_becomes_a_link_while_a_file_is_opened_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "data", outside):
        folder.mkdir(parents=True)
        (folder / "a").write_text(folder.name)
    files = FileAccess((root,), "allowed_roots")
    opened = os.open

    def swapped(path: Path, flags: int, mode: int = 0o777) -> int:
        os.rename(root / "data", root / "was")
        (root / "data").symlink_to(outside)
        return opened(path, flags, mode)

    monkeypatch.setattr("sage_kernel.file_access.os.open", swapped)
    with pytest.raises(PermissionDeniedError):
        files.open(root / "data" / "a")
