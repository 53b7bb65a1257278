"""``engine.sh`` says why no engine can be had and leaves the suite out; with one, it ends as the suite does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.compose_stack import missing_engine

FOLDER = Path(__file__).resolve().parent
PROGRAM = FOLDER / "engine.sh"
COPY = str(FOLDER / "pip_settings.py")
# What the script needs of a bare machine before it looks for an engine.
TOOLS = ("bash", "realpath", "flock", "mkdir", "timeout", "cat", "rm", "mktemp")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAM), "run", *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder of programs with neither an engine nor a package manager."""
    for name in (*TOOLS, "id"):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    return tmp_path


def test_without_an_engine_the_command_is_left_out_with_a_reason(bare: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    answer = run(
        *("bash", "-c", f"echo ran >{mark}; exit 1"),
        PATH=str(bare),
        DOCKER_HOST="unix:///nonexistent",
        # The engine of another run is none of this test's.
        ENGINE_STATE=str(tmp_path / "state"),
        ENGINE_CACHE=str(tmp_path / "cache"),
    )

    reason = "there is no apt-get" if os.geteuid() == 0 else "only root can start one"
    assert answer.returncode == 0, answer.stderr
    assert reason in answer.stderr
    assert "the container suite is not run" in answer.stderr
    assert not mark.exists()


@pytest.mark.compose
@pytest.mark.parametrize("status", [0, 7])
def test_with_an_engine_it_ends_as_the_command_does_and_the_engine_goes_on(status: int) -> None:
    if reason := missing_engine():
        pytest.skip(reason)

    answer = run("bash", "-c", f"docker version >&2; exit {status}")

    assert answer.returncode == status, answer.stderr
    assert not missing_engine()


def test_pips_settings_reach_an_image_with_the_files_that_they_name(tmp_path: Path) -> None:
    bundle, wheels, index, image = (tmp_path / name for name in ("bundle.pem", "wheels", "index", "image"))
    bundle.write_text("certificates")
    wheels.mkdir()
    (wheels / "one-1-py3-none-any.whl").write_text("wheel")
    index.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_CERT": str(bundle),
        "PIP_FIND_LINKS": f"{wheels} https://wheels.example/",
        "PIP_EXTRA_INDEX_URL": f"{index.as_uri()} https://index.example/simple",
        "PIP_NO_INPUT": "1",
    }

    subprocess.run([sys.executable, COPY, str(image)], env=environment, timeout=60, check=True)

    assert (image / "etc" / "pip.conf").read_text().splitlines() == [
        "[global]",
        f"cert = {bundle}",
        "extra-index-url = https://index.example/simple",
        f"find-links = {wheels} https://wheels.example/",
    ]
    assert (image / bundle.relative_to("/")).read_text() == "certificates"
    assert (image / wheels.relative_to("/") / "one-1-py3-none-any.whl").read_text() == "wheel"
    assert not (image / index.relative_to("/")).exists()


def test_without_settings_nothing_is_written(tmp_path: Path) -> None:
    hidden = ("PIP_", "REQUESTS_CA_BUNDLE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment["PIP_CONFIG_FILE"] = os.devnull

    subprocess.run([sys.executable, COPY, str(tmp_path)], env=environment, timeout=60, check=True)

    assert list(tmp_path.iterdir()) == []
