"""Prints what distributions of this repository need from outside it, one requirement a line.

    python requirements.py ROOT DISTRIBUTION[EXTRA,...] ...

It reads the ``pyproject.toml`` files of ROOT, so an image can install third-party packages in a layer that a change
of code does not touch. Requirements on other distributions of this repository are followed, extras included.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomllib

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?")


def projects(root: Path) -> dict[str, dict[str, Any]]:
    """Return the ``[project]`` tables of ``root``'s libraries and services by normalised name."""
    paths = [*root.glob("libs/*/pyproject.toml"), *root.glob("services/*/pyproject.toml")]
    tables = (tomllib.loads(path.read_text(encoding="utf-8"))["project"] for path in paths)
    return {normalised(table["name"]): table for table in tables}


def normalised(name: str) -> str:
    """Return ``name`` as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def outside(requirement: str, local: dict[str, dict[str, Any]], seen: set[tuple[str, str]]) -> Iterator[str]:
    """Yield what ``requirement`` needs from outside ``local``; ``seen`` holds the (name, extra) pairs done so far."""
    match = _REQUIREMENT.match(requirement)
    if match is None:
        raise SystemExit(f"cannot read the requirement {requirement!r}")
    name = normalised(match[1])
    if name not in local:
        yield requirement
        return
    table = local[name]
    for extra in ("", *(part.strip() for part in (match[2] or "").split(",") if part.strip())):
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            needs = table.get("optional-dependencies", {})[extra] if extra else table.get("dependencies", [])
        except KeyError:
            known = ", ".join(sorted(table.get("optional-dependencies", {}))) or "none"
            raise SystemExit(f"{name} has no extra {extra!r}; it has: {known}") from None
        for need in needs:
            yield from outside(need, local, seen)


def main(arguments: list[str]) -> None:
    """Print the requirements."""
    local = projects(Path(arguments[0]))
    lines: dict[str, None] = {}
    for wanted in arguments[1:]:
        if normalised(wanted.partition("[")[0]) not in local:
            raise SystemExit(f"there is no distribution {wanted!r} in {arguments[0]}; there are: {', '.join(local)}")
        lines |= dict.fromkeys(outside(wanted, local, set()))
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main(sys.argv[1:])
