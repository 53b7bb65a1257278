"""What of a folder is a document, by git's rules and by its name; git itself is the judge where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sage_common.errors import NotFoundError
from sage_kernel.folder import list_documents, list_one

FILES = {
    ".gitignore": "*.txt\n!keep.txt\n/private/\nnotes/*\n!notes/shared.md\n",
    "guide.md": "x",
    "drop.txt": "x",
    "keep.txt": "x",
    "private/secret.md": "x",
    "deep/private/open.md": "x",
    "notes/own.md": "x",
    "notes/shared.md": "x",
    "deep/.gitignore": "!drop.txt\nother.md\n",
    "deep/drop.txt": "x",
    "deep/other.md": "x",
    "deep/down/other.md": "x",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "repository" / ".git").mkdir()
    return tmp_path / "repository"


def listed(folder: Path) -> list[str]:
    return sorted(path.as_posix() for path in list_documents(folder, max_file_bytes=1000, max_files=1000).files)


def test_what_gitignore_leaves_out_is_left_out(folder: Path) -> None:
    assert listed(folder) == ["deep/drop.txt", "deep/private/open.md", "guide.md", "keep.txt", "notes/shared.md"]
    skipped = dict(list_documents(folder, max_file_bytes=1000, max_files=1000).skipped)
    assert skipped["private/"] == skipped["drop.txt"] == "left out by .gitignore"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_it_is_what_git_itself_would_list(folder: Path) -> None:
    (folder / ".git").rmdir()
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    command = ["git", "-C", str(folder), "ls-files", "--others", "--exclude-standard"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert listed(folder) == sorted(name for name in out.split() if not name.endswith(".gitignore"))


def test_a_folder_below_the_rules_follows_them_unless_they_leave_it_out_itself(folder: Path) -> None:
    assert listed(folder / "deep") == ["drop.txt", "private/open.md"]
    assert listed(folder / "private") == ["secret.md"]


def test_build_output_and_lists_of_versions_are_no_documents(tmp_path: Path) -> None:
    for name in (
        "build/a.md",
        "x.egg-info/SOURCES.txt",
        "dist/b.md",
        "requirements-dev.txt",
        "constraints.txt",
        "ok.md",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert listed(tmp_path) == ["ok.md"]
    # Whoever names a file or a folder wants it read.
    assert listed(tmp_path / "build") == ["a.md"]
    assert list_one(tmp_path / "constraints.txt", max_file_bytes=10).files == [Path("constraints.txt")]


def test_what_is_neither_a_file_nor_a_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="not there"):
        list_documents(tmp_path / "none", max_file_bytes=1, max_files=1)
