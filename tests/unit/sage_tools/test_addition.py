"""A change of the tree is made as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sage_common.errors import ConflictError, UnprocessableError
from sage_tools.scaffold import addition as addition_module
from sage_tools.scaffold.addition import Addition
from sage_tools.scaffold.names import words_of
from sage_tools.scaffold.text_edits import after

WRITES = """
from pathlib import Path

Path("made").mkdir()
Path("made/a").touch()
Path("page").write_text("new")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "libs/python").mkdir(parents=True)
    (tmp_path / "services").mkdir()
    (tmp_path / "list.py").write_text("# the list\n")
    (tmp_path / "page").write_text("old")
    return tmp_path


def addition(mark: str = "# the list\n", commands: Sequence[Sequence[str]] = ()) -> Addition:
    return Addition(
        files={"libs/python/new/__init__.py": "service_init.py.tmpl"},
        words=words_of("some_name"),
        edits={"list.py": [after(mark, "NAME = 1\n")]},
        next_steps=(),
        generated=["made", "page"],
        commands=commands,
    )


def everything(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_files_lines_and_what_is_generated_are_there_together(root: Path) -> None:
    addition(commands=[["-c", WRITES]]).apply(root)
    assert everything(root) == {
        "libs/python/new/__init__.py": '"""The some-name service."""\n',
        "list.py": "# the list\nNAME = 1\n",
        "made/a": "",
        "page": "new",
    }


def test_a_command_that_fails_takes_everything_back_and_says_why(root: Path) -> None:
    before = everything(root)
    with pytest.raises(UnprocessableError, match="it does not load"):
        addition(commands=[["-c", WRITES], ["-c", "raise SystemExit('it does not load')"]]).apply(root)
    assert everything(root) == before
    assert not (root / "libs/python/new").exists()


def test_a_file_that_looks_otherwise_is_named_and_nothing_is_written(root: Path) -> None:
    before = everything(root)
    with pytest.raises(UnprocessableError, match=r"list\.py cannot be changed: 'gone' is there 0 times"):
        addition(mark="gone").apply(root)
    (root / "list.py").unlink()
    with pytest.raises(UnprocessableError, match=r"list\.py cannot be changed: it is not there"):
        addition().apply(root)
    assert everything(root) == {"page": before["page"]}


def test_a_file_that_exists_is_not_written_over(root: Path) -> None:
    (root / "libs/python/new").mkdir()
    (root / "libs/python/new/__init__.py").write_text("mine")
    with pytest.raises(ConflictError, match=r"libs/python/new/__init__\.py exists"):
        addition().apply(root)
    assert (root / "libs/python/new/__init__.py").read_text() == "mine"


def test_a_command_without_end_takes_everything_back_and_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(root)

    def run(*_: object, timeout: float, **__: object) -> None:
        raise addition_module.subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(addition_module.subprocess, "run", run)
    with pytest.raises(UnprocessableError, match=r"`python -m ruff check --quiet` took more than 120 s"):
        addition().apply(root)
    assert everything(root) == before
