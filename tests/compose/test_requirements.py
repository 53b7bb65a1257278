"""What an image installs is what the distributions declare."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "compose" / "requirements.py"

LIBRARY = """
[project]
name = "sage-mesh"
dependencies = ["outer>=1", "shared"]
[project.optional-dependencies]
client = ["sage-mesh[array]", "http>=2"]
array = ["numpy>=1.26"]
"""
SERVICE = """
[project]
name = "sage-some_service"
dependencies = ["sage-mesh[client]", "shared", "marked>=1; python_version < '3.11'"]
[project.optional-dependencies]
torch = ["torch>=2"]
"""

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="it runs in the image, on 3.11, and reads TOML")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder, content in (("libs/python", LIBRARY), ("services/some-service", SERVICE)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "pyproject.toml").write_text(content)
    return tmp_path


def run(root: Path, *wanted: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), str(root), *wanted], capture_output=True, text=True, timeout=30, check=False
    )


def test_requirements_of_local_distributions_and_their_extras_are_followed(root: Path) -> None:
    lines = run(root, "sage-some-service[]").stdout.splitlines()
    assert lines == ["outer>=1", "shared", "numpy>=1.26", "http>=2", "marked>=1; python_version < '3.11'"]


def test_an_extra_adds_its_own(root: Path) -> None:
    with_torch = run(root, "sage-some-service[torch]").stdout.splitlines()
    assert set(with_torch) - set(run(root, "sage-some-service").stdout.splitlines()) == {"torch>=2"}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("sage-some-service[cuda]", "sage-some-service has no extra 'cuda'; it has: torch"),
        ("sage-other", "there is no distribution 'sage-other'"),
    ],
)
def test_what_does_not_exist_is_an_error_that_lists_what_does(root: Path, wanted: str, message: str) -> None:
    answer = run(root, wanted)
    assert answer.returncode != 0
    assert message in answer.stderr
