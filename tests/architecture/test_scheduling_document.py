"""docs/scheduling.md says what the code does: its pseudocode has the code's statements, its tables the values."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sage_benchmark.grid.constants import constants_of
from sage_control_plane.settings import ControlSettings

ROOT = Path(__file__).parents[2]
CONTROL_PLANE = ROOT / "libs/python/sage_control_plane"
TEXT = (ROOT / "docs/scheduling.md").read_text()
BLOCKS = re.findall(r"```python\n# (\S+\.py)\n(.*?)```", TEXT, re.DOTALL)
SETTINGS = re.findall(r"^\| `([a-z_.]+)` \| ([\d.,]+) \|", TEXT, re.MULTILINE)
CONSTANTS = re.findall(r"^\| `([a-z_/]+)\.py` `([A-Z_]+)` \| ([\d.,]+) \|", TEXT, re.MULTILINE)


def parts(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the simple statements of a tree, and the conditions and loops of the others."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.If, ast.While)):
            yield node.test
        elif isinstance(node, ast.For):
            yield node.target
            yield node.iter
        elif isinstance(node, ast.stmt) and not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node


def functions(tree: ast.AST) -> dict[str, list[ast.FunctionDef]]:
    found: dict[str, list[ast.FunctionDef]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            found.setdefault(node.name, []).append(node)
    return found


def parameters(function: ast.FunctionDef) -> list[str]:
    arguments = function.args
    return [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


@pytest.mark.parametrize(("module", "block"), BLOCKS, ids=[module for module, _ in BLOCKS])
def test_each_line_of_pseudocode_is_a_line_of_the_function_that_it_explains(module: str, block: str) -> None:
    code = functions(ast.parse((CONTROL_PLANE / module).read_text()))
    for name, shown in functions(ast.parse(block)).items():
        assert name in code, f"{module} has no {name}()"
        assert parameters(shown[0]) in [parameters(one) for one in code[name]], f"{module}: parameters of {name}()"
        lines = {ast.unparse(part) for one in code[name] for part in ast.walk(one)}
        missing = [ast.unparse(part) for part in parts(shown[0]) if ast.unparse(part) not in lines]
        assert missing == [], f"{module}: {name}() has no such lines"


def test_there_is_pseudocode_of_every_part() -> None:
    assert {module.partition("/")[0] for module, _ in BLOCKS} >= {"policies", "pool", "prediction", "tracking"}


def test_every_setting_that_decides_on_order_and_capacity_is_explained_with_its_default() -> None:
    shown = {name: float(value.replace(",", "")) for name, value in SETTINGS}
    assert shown == constants_of(ControlSettings(), "hybrid")


def test_every_constant_of_the_modules_is_explained_with_its_value() -> None:
    shown = {(module, name): float(value.replace(",", "")) for module, name, value in CONSTANTS}
    actual = {}
    for path in {module for module, _ in shown}:
        module = importlib.import_module("sage_control_plane." + path.replace("/", "."))
        for node in ast.parse((CONTROL_PLANE / f"{path}.py").read_text()).body:
            for target in node.targets if isinstance(node, ast.Assign) else ():
                name = ast.unparse(target)
                if re.fullmatch("[A-Z][A-Z_]+", name) and isinstance(getattr(module, name), (int, float)):
                    actual[path, name] = getattr(module, name)
    assert shown == actual
