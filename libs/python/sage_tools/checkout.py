"""The checkout of SAGE's repository that a command works on, and what its projects are."""

from __future__ import annotations

import re
from pathlib import Path

from sage_common.errors import ConfigurationError, UnprocessableError

# Together they are in this repository alone.
_MARKS = (".importlinter", "constraints.txt", "libs/python/sage_tools")


def checkout(start: Path) -> Path:
    """Return the root of the checkout that ``start`` lies in. Raises ConfigurationError outside of one."""
    for folder in (start, *start.parents):
        if all((folder / mark).exists() for mark in _MARKS):
            return folder
    raise ConfigurationError(f"{start} is in no checkout of SAGE's repository; run sage-dev in one")


def projects(root: Path) -> list[Path]:
    """Return the folders of all distributions: the libraries, then the services."""
    return [
        root / "libs/python",
        root / "libs/cpp",
        *sorted(path.parent for path in root.glob("services/*/pyproject.toml")),
    ]


def version_of(project: Path) -> str:
    """Return a distribution's version. Raises UnprocessableError where its pyproject.toml states none."""
    # Python 3.10 has no reader of TOML.
    found = re.search(r'^version = "([^"]+)"$', (project / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise UnprocessableError(f'{project / "pyproject.toml"} has no line `version = "…"`')
    return found[1]


def common_version(root: Path) -> str:
    """Return the version of all distributions. Raises UnprocessableError where they differ."""
    versions = {project.relative_to(root).as_posix(): version_of(project) for project in projects(root)}
    if len(set(versions.values())) > 1:
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        raise UnprocessableError(f"the versions differ: {told}; a release has one")
    return next(iter(versions.values()))
