"""What a release is built of, with a builder in the place of `build`, which needs a package index."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from sage_common.errors import ConfigurationError, UnprocessableError
from sage_tools import release
from sage_tools.release import SUMS, build_release
from sage_tools.release_images import Image, images

ROOT = Path(__file__).parents[3]
PROJECTS = ("libs/python", "libs/cpp", "services/gateway")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in PROJECTS:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    return tmp_path


def builder(monkeypatch: pytest.MonkeyPatch, returncode: int = 0, said: str = "") -> list[list[str]]:
    """Write an archive for each kind that is asked for; return the commands."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if "build" in command and returncode == 0:
            home, project = Path(command[-2]), Path(command[-1])
            for kind, ending in (("--wheel", "whl"), ("--sdist", "tar.gz")):
                if kind in command:
                    (home / f"{project.name}.{ending}").write_text(project.name)
        return subprocess.CompletedProcess(command, returncode, "", said)

    monkeypatch.setattr(release.subprocess, "run", run)
    return commands


def test_every_project_gets_a_wheel_the_libraries_an_sdist_and_all_of_it_checksums(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder(monkeypatch)
    said: list[str] = []
    built = build_release(root, said.append)
    assert said == [f"{project} 1.2.3" for project in PROJECTS]
    names = ["cpp.tar.gz", "cpp.whl", "gateway.whl", "python.tar.gz", "python.whl"]
    assert [path.name for path in built] == [*names, SUMS]
    monkeypatch.undo()
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", SUMS], cwd=built[0].parent, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout.count(": OK")) == (0, len(names)), checked.stderr


def test_what_an_earlier_build_left_is_gone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder(monkeypatch)
    (root / release.HOME).mkdir(parents=True)
    (root / release.HOME / "old.whl").touch()
    assert "old.whl" not in {path.name for path in build_release(root, lambda _: None, only=["services/gateway"])}


def test_a_build_that_fails_ends_with_its_last_words_and_the_remedy(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder(monkeypatch, returncode=1, said="No module named build")
    with pytest.raises(UnprocessableError, match=r"(?s)No module named build.*pip install -c constraints\.txt build"):
        build_release(root, lambda _: None)


def test_images_without_docker_say_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image("sage/gateway:1.2.3", "compose/Dockerfile", {"SERVICE": "gateway"}, "default")
    monkeypatch.setattr(release, "_build", lambda *_, **__: None)
    monkeypatch.setattr(release, "images_of", lambda *_: [image])
    monkeypatch.setenv("PATH", str(root))
    with pytest.raises(ConfigurationError, match="no program 'docker': start a Docker engine"):
        build_release(root, lambda _: None, images=True)


def test_images_are_those_of_compose_with_the_version_of_the_release() -> None:
    found = {image.name: image for image in images(ROOT, "9.8.7")}
    assert len(found) == len(list((ROOT / "services").iterdir())) + 1
    gateway = found["sage/gateway:9.8.7"]
    assert gateway.arguments["SERVICE"] == "gateway"
    assert gateway.arguments["VERSION"] == "9.8.7"
    assert not [value for image in found.values() for value in image.arguments.values() if "$" in value]
    assert found["sage/studio:9.8.7"].arguments["DISTRIBUTION"] == "sage-mesh"
    assert gateway.archive(Path("x")) == Path("x/sage-gateway-9.8.7.tar")


def test_a_variable_without_a_value_is_named(tmp_path: Path) -> None:
    (tmp_path / "compose").mkdir()
    (tmp_path / "compose/.env").write_text("# none\n")
    (tmp_path / "compose/compose.yaml").write_text(
        "services: {a: {image: 'x:${SIZE_OF_IT}', build: {dockerfile: compose/Dockerfile}}}\n"
    )
    with pytest.raises(UnprocessableError, match=r"uses \$\{SIZE_OF_IT\}"):
        images(tmp_path, "1.0.0")


def test_a_project_that_is_none_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder(monkeypatch)
    with pytest.raises(UnprocessableError, match="no project is called services/nobody"):
        build_release(root, lambda _: None, only=["services/gateway", "services/nobody"])


def test_a_misspelt_project_leaves_what_was_built_before(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder(monkeypatch)
    (root / release.HOME).mkdir(parents=True)
    (root / release.HOME / "old.whl").touch()
    with pytest.raises(UnprocessableError, match=r"known: .*services/gateway"):
        build_release(root, lambda _: None, only=["services/gatewy"])
    assert (root / release.HOME / "old.whl").exists()
