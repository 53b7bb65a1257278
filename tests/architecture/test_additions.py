"""A new policy, scorer, engine or operator is a file and a line: the changes that CONTRIBUTING.md shows are enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "additions"
ADDITIONS = ["policy", "scorer", "engine", "operator"]


def change(addition: str) -> str:
    """The diff below the paragraph that begins with the addition's name in bold type."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.search(rf"\*\*[a-z ]*{addition}\*\*.*?```diff\n(.*?)```", text, re.DOTALL)
    assert found, f"CONTRIBUTING.md shows no diff for a new {addition}"
    return found[1]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all packages."""
    root = tmp_path_factory.mktemp("packages")
    for home in ("libs/python", *(f"services/{path.name}" for path in (ROOT / "services").iterdir())):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "dist", "build")
        shutil.copytree(ROOT / home, root / home, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


@pytest.mark.parametrize("addition", ADDITIONS)
def test_it_is_a_file_and_a_line(addition: str) -> None:
    diff = change(addition)
    hunks = re.split(r"^@@.*\n", diff, flags=re.MULTILINE)[1:]
    added = [re.findall(r"^\+(?!\+\+ )", hunk, re.MULTILINE) for hunk in hunks]
    assert len(hunks) == 2, "the file, or the class in the file of all of its kind; and the line"
    assert len(added[1]) == 1
    assert not re.findall(r"^-(?!-- )", diff, re.MULTILINE)


@pytest.mark.parametrize("addition", ADDITIONS)
def test_it_is_listed_validated_configured_and_used(addition: str, packages: Path) -> None:
    def run(*command: str | Path, **environment: str) -> None:
        done = subprocess.run(
            command, cwd=packages, env={**os.environ, **environment}, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stdout + done.stderr

    diff = packages / f"{addition}.diff"
    diff.write_text(change(addition))
    # Outside of any repository, so that paths are those of the copy.
    run("git", "apply", diff, GIT_CEILING_DIRECTORIES=str(packages.parent))
    try:
        ruff = Path(sys.executable).with_name("ruff")
        added = re.findall(r"^\+\+\+ b/(.*)$", change(addition), re.MULTILINE)
        run(ruff, "check", "--no-cache", *added)
        run(ruff, "format", "--no-cache", "--check", *added)
        homes = [packages / "libs/python", *(packages / "services").iterdir(), ROOT / "tests"]
        run(sys.executable, SCRIPTS / f"{addition}.py", PYTHONPATH=os.pathsep.join(map(str, homes)), PYTHONSAFEPATH="1")
    finally:
        run("git", "apply", "--reverse", diff, GIT_CEILING_DIRECTORIES=str(packages.parent))
