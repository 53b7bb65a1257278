"""Loops that run for as long as a service does are run in one place, where their failures show."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [
    *(ROOT / "services").glob("*/sage_*/**/*.py"),
    *(path for name in ("platform", "mesh", "cli") for path in (ROOT / f"libs/python/sage_{name}").rglob("*.py")),
]
STARTERS = {"create_task", "ensure_future"}


def endless(tree: ast.Module) -> set[str]:
    """Names of the coroutines of a module that loop for ever."""

    def loops(function: ast.AsyncFunctionDef) -> bool:
        return any(
            isinstance(statement, ast.While)
            and isinstance(statement.test, ast.Constant)
            and not any(isinstance(node, ast.Return | ast.Break) for node in ast.walk(statement))
            for statement in ast.walk(function)
        )

    return {node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef) and loops(node)}


def bare_tasks(path: Path) -> Iterator[str]:
    """Where a module starts an endless coroutine as a task that an exception would end in silence."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    forever = endless(tree)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in STARTERS):
            continue
        for argument in node.args:
            called = argument.func if isinstance(argument, ast.Call) else None
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in forever:
                yield f"{path.relative_to(ROOT)}:{node.lineno} {name}"


def test_no_endless_loop_is_a_bare_task() -> None:
    assert SOURCES
    found = [place for path in SOURCES for place in bare_tasks(path)]
    assert not found, "run these by sage_platform.background.keep_running"
