"""One meaning for each name: no two modules and no two classes of one layer are called the same."""

from __future__ import annotations

import ast
import configparser
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Modules that every package of their kind has, for the same thing.
CONVENTIONAL = {
    *("__init__", "__main__", "main", "config", "service", "ring", "metrics", "settings", "registry"),
    # Of every application.
    *("evaluation", "sample"),
}


def layers() -> list[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return parser["importlinter:contract:layers"]["layers"].strip().splitlines()


def modules(layer: str) -> Iterator[Path]:
    homes = [ROOT / "libs/python", *(ROOT / "services").iterdir()]
    for package in layer.replace("|", " ").split():
        for home in homes:
            yield from (path for path in (home / package).rglob("*.py") if "_pb2" not in path.name)


def classes(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)}


def shared(names: Iterator[tuple[str, Path]]) -> dict[str, list[str]]:
    homes: dict[str, list[str]] = defaultdict(list)
    for name, path in names:
        homes[name].append(str(path.relative_to(ROOT)))
    return {name: paths for name, paths in homes.items() if len(paths) > 1 and name not in CONVENTIONAL}


@pytest.mark.parametrize("layer", layers())
def test_no_two_modules_of_a_layer_are_called_the_same(layer: str) -> None:
    assert shared((path.stem, path) for path in modules(layer)) == {}


@pytest.mark.parametrize("layer", layers())
def test_no_two_classes_of_a_layer_are_called_the_same(layer: str) -> None:
    assert shared((name, path) for path in modules(layer) for name in classes(path)) == {}
