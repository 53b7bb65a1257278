"""The layer contract holds and leaves no package out."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

from sage_cli.mesh.services import SERVICES

ROOT = Path(__file__).parents[2]


def packages_on_disk() -> set[str]:
    homes = [ROOT / "libs/python", *(ROOT / "services").iterdir()]
    return {path.parent.name for home in homes for path in home.glob("*/__init__.py")}


def contract() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return parser


def test_every_package_on_disk_is_in_the_layer_contract() -> None:
    layers = contract()["importlinter:contract:layers"]["layers"]
    assert packages_on_disk() == set(layers.replace("|", " ").split())
    assert packages_on_disk() == set(contract()["importlinter"]["root_packages"].split())


def test_no_layer_imports_upward() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_top_level_is_the_agreed_one() -> None:
    services = {path.name for path in (ROOT / "services").iterdir() if path.is_dir()}
    assert services == {entry.name for entry in SERVICES}
    for name in ("proto", "libs/cpp", "compose", "tests"):
        assert (ROOT / name).is_dir(), name


def test_each_service_has_its_own_package_readme_and_entry() -> None:
    for service in (ROOT / "services").iterdir():
        package = service / f"sage_{service.name.replace('-', '_')}"
        for file in ("pyproject.toml", "README.md"):
            assert (service / file).exists(), service / file
        for file in ("main.py", "config.py", "service.py", "__main__.py"):
            assert (package / file).exists(), package / file
