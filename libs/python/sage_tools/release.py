"""Builds what a release consists of, below ``build/release``, with its checksums. Nothing is published."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sage_common.errors import ConfigurationError, UnprocessableError
from sage_tools.checkout import common_version, projects
from sage_tools.release_images import images as images_of

HOME = Path("build/release")
SUMS = "SHA256SUMS"
BUILD_SECONDS = 900
IMAGE_SECONDS = 3600
# Which whoever has no wheel for his machine, or packages SAGE, builds from; a service's wheel is its sources already.
WITH_SOURCES = ("libs/python", "libs/cpp")

Say = Callable[[str], None]


def build_release(root: Path, say: Say, *, images: bool = False, only: Sequence[str] = ()) -> list[Path]:
    """Build all wheels, and sdists of the libraries; return the files, the checksums among them.

    Args:
        images: build the container images too, each saved as an archive that `docker load` reads.
        only: folders of projects, from the root; empty for all.

    Raises:
        UnprocessableError: versions differ, or a build failed. What was built before stays.
        ConfigurationError: a tool that builds is missing.
    """
    version = common_version(root)
    known = [project.relative_to(root).as_posix() for project in projects(root)]
    if wrong := [name for name in only if name not in known]:
        raise UnprocessableError(
            f"nothing was built: no project is called {', '.join(wrong)}; known: {', '.join(known)}"
        )
    home = root / HOME
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for project in projects(root):
        name = project.relative_to(root).as_posix()
        if not only or name in only:
            say(f"{name} {version}")
            _build(root, project, home, with_sources=name in WITH_SOURCES)
    if images:
        _build_images(root, home, version, say)
    built = sorted(path for path in home.rglob("*") if path.is_file())
    (home / SUMS).write_text(checksums(home, built), encoding="utf-8")
    return [*built, home / SUMS]


def checksums(home: Path, files: Iterable[Path]) -> str:
    """Return the lines that `sha256sum --check` reads, with paths from ``home``."""
    lines = []
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        lines.append(f"{digest.hexdigest()}  {path.relative_to(home).as_posix()}\n")
    return "".join(lines)


def _build(root: Path, project: Path, home: Path, *, with_sources: bool) -> None:
    kinds = ["--wheel", "--sdist"] if with_sources else ["--wheel"]
    # The same time in every archive: two builds of one commit are the same files.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _commit_time(root)}
    command = [sys.executable, "-m", "build", *kinds, "--outdir", str(home), str(project)]
    _run(command, BUILD_SECONDS, environment, "pip install -c constraints.txt build")


def _commit_time(root: Path) -> str:
    said = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    # The least that a zip archive can hold.
    return said.stdout.strip() or "315532800"


def _build_images(root: Path, home: Path, version: str, say: Say) -> None:
    folder = home / "images"
    folder.mkdir()
    for image in images_of(root, version):
        say(image.name)
        for command in (image.build(), image.save(folder)):
            _run(command, IMAGE_SECONDS, dict(os.environ), "start a Docker engine, or leave --images out", root)


def _run(
    command: Sequence[str], seconds: float, environment: dict[str, str], remedy: str, folder: Path | None = None
) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except FileNotFoundError:
        raise ConfigurationError(f"there is no program {command[0]!r}: {remedy}") from None
    except subprocess.TimeoutExpired:
        raise UnprocessableError(f"`{' '.join(command)}` took more than {seconds:.0f} s") from None
    if done.returncode != 0:
        said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-5:])
        hint = f"\n{remedy}" if "No module named build" in said or "docker" in command[0] else ""
        raise UnprocessableError(f"`{' '.join(command)}` failed:\n{said}{hint}")
