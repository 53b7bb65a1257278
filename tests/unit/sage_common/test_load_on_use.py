"""A module that is loaded on use is the module itself, a little later."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sage_common.load_on_use import load_on_use

NAMES = ("seldom_used", "seldom_used.part")


@pytest.fixture
def loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A package that notes each time it is loaded."""
    (tmp_path / "seldom_used").mkdir()
    text = "import sys\nsys.seldom_used_loads.append(__name__)\nfrom . import part as part\nVALUE = 7\n"
    (tmp_path / "seldom_used" / "__init__.py").write_text(text)
    (tmp_path / "seldom_used" / "part.py").write_text("import sys\nsys.seldom_used_loads.append(__name__)\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in NAMES:
        # Put back, which is away, at the end.
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        del sys.modules[name]
    counted: list[str] = []
    monkeypatch.setattr(sys, "seldom_used_loads", counted, raising=False)
    return counted


def test_it_is_loaded_once_when_something_of_it_is_asked_for(loads: list[str]) -> None:
    load_on_use("seldom_used")
    module = importlib.import_module("seldom_used")
    assert loads == []
    assert module.VALUE == 7
    assert loads == list(NAMES)
    assert importlib.import_module("seldom_used") is module
    with pytest.raises(AttributeError):
        _ = module.NOTHING
    load_on_use("seldom_used")
    assert sys.modules["seldom_used"].VALUE == 7
    assert loads == list(NAMES)


def test_a_part_of_it_may_be_imported_first(loads: list[str]) -> None:
    load_on_use("seldom_used")
    part = importlib.import_module("seldom_used.part")
    assert loads == ["seldom_used.part"]
    module = importlib.import_module("seldom_used")
    assert (module.VALUE, module.part) == (7, part)
    assert sorted(loads) == sorted(NAMES)


def test_a_module_that_is_not_there_stays_so() -> None:
    load_on_use("no_such_module_at_all")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_at_all")
