"""The layers of the packages, as ``.importlinter`` has them, and as a picture."""

from __future__ import annotations

import configparser
from pathlib import Path

CONTRACT = "importlinter:contract:layers"


def layers(root: Path) -> list[list[str]]:
    """Return the packages of each layer, the highest first."""
    parser = configparser.ConfigParser()
    parser.read(root / ".importlinter", encoding="utf-8")
    lines = parser[CONTRACT]["layers"].strip().splitlines()
    return [[name.strip() for name in line.split("|")] for line in lines]


def packages_beside(root: Path, package: str) -> list[Path]:
    """Return the folders of the packages in the layer of ``package``, itself included."""
    names = next(layer for layer in layers(root) if package in layer)
    homes = [root / "libs/python", *(root / "services").iterdir()]
    return [home / name for name in names for home in homes if (home / name).is_dir()]


def numbered(found: list[list[str]]) -> list[tuple[int, list[str]]]:
    """Return the layers with their numbers: the lowest is 1."""
    return [(len(found) - above, names) for above, names in enumerate(found)]


def as_text(found: list[list[str]]) -> str:
    """Return the layers as lines, the highest first; each imports only those below it."""
    return "\n".join(f"{number:>2}  {'  '.join(names)}" for number, names in numbered(found))


def as_mermaid(found: list[list[str]]) -> str:
    """Return the layers as a Mermaid flowchart; an arrow leads from a layer to the one that it may import."""
    lines = ["flowchart TB"]
    for number, names in numbered(found):
        lines += [f'  subgraph L{number}["{number}"]', "    direction LR", *(f"    {name}" for name in names), "  end"]
    lines += [f"  L{number} --> L{number - 1}" for number in range(len(found), 1, -1)]
    return "\n".join(lines)
