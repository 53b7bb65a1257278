"""Rules for source files: sizes, names, words, fresh stubs."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import TypeGuard

import pytest

from sage_tools import compiled, stubs

ROOT = Path(__file__).parents[2]
MAX_LINES = 320


def tracked(*patterns: str) -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).exists()]


def own_python() -> list[Path]:
    return [path for path in tracked("libs/**/*.py", "services/**/*.py") if "_pb2" not in path.name]


def test_files_hold_one_idea_and_stay_short() -> None:
    long = {str(p.relative_to(ROOT)): n for p in own_python() if (n := len(p.read_text().splitlines())) > MAX_LINES}
    assert not long


def test_no_module_is_named_for_nothing() -> None:
    named_for_nothing = {"utils", "helpers", "common", "misc", "handler", "handlers", "util", "helper"}
    assert not [path for path in own_python() if path.stem in named_for_nothing]


def test_every_module_says_what_it_is() -> None:
    silent = [path for path in own_python() if path.read_text().strip() and not path.read_text().startswith('"""')]
    assert not silent


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX", "NotImplementedError", "placeholder"])
def test_no_word_of_unfinished_work(word: str) -> None:
    assert not [path for path in own_python() if re.search(rf"\b{word}\b", path.read_text())]


def test_stubs_are_what_the_contracts_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert stubs.stale_stubs() == []


def test_no_generated_or_binary_files_are_tracked() -> None:
    junk = (".pyc", ".so", ".o", ".safetensors", ".bin", ".onnx", ".log", ".egg-info")
    assert not [path for path in tracked() if path.suffix in junk]


def test_a_log_line_about_a_request_names_it_by_its_callers_id_too() -> None:
    """Such lines take ``id_fields``, or both ids by name."""
    lines = []
    for path in own_python():
        for node in ast.walk(ast.parse(path.read_text())):
            if _is_log_call(node):
                names = {keyword.arg for keyword in node.keywords}
                if "request_id" in names and "correlation_id" not in names:
                    lines.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not lines


def _is_log_call(node: ast.AST) -> TypeGuard[ast.Call]:
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "log"


def test_each_package_is_pinned_once_and_in_order() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    names = [re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines if line and line[0] != "#"]
    assert [name for name in names if names.count(name) > 1] == []
    assert names == sorted(names)


def test_compiled_modules_are_as_new_as_their_sources() -> None:
    assert not compiled.stale(ROOT / compiled.SOURCES), "run `make compiled` or `make interpreted`"


def test_what_is_not_compiled_is_there_and_has_a_reason() -> None:
    folder = ROOT / compiled.SOURCES
    left_out = {folder / compiled.PACKAGE / name for name in compiled.INTERPRETED}
    assert all(path.exists() for path in left_out)
    assert all(compiled.INTERPRETED.values())
    assert not left_out & {folder / source for source in compiled.sources(folder)}
