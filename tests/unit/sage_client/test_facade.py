"""``import sage``."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sage


@pytest.mark.parametrize("name", sage.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(sage, name) is not None
    assert name in dir(sage)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = sage.nope


def test_importing_sage_pulls_in_nothing_heavy() -> None:
    script = (
        "import sys, sage\n"
        "heavy = {'grpc', 'google.protobuf', 'nats', 'numpy', 'aiohttp', 'pydantic', 'torch'} & set(sys.modules)\n"
        "ours = [name for name in sys.modules if name.startswith('sage_')]\n"
        "sys.exit(f'{heavy} {ours}' if heavy or ours else 0)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_a_type_checker_sees_every_exported_name() -> None:
    tree = ast.parse(Path(sage.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname: node.module for node in imports for alias in node.names}
    assert seen == sage._EXPORTS


def test_every_package_says_that_it_is_typed() -> None:
    root = Path(sage.__file__).parents[1]
    untyped = [p.parent.name for p in root.glob("sage*/__init__.py") if not (p.parent / "py.typed").exists()]
    assert untyped == []
