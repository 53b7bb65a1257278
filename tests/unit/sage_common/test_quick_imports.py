"""What a process that starts need not do while it imports."""

from __future__ import annotations

import gc
import importlib
import sys

import pytest

from sage_common.quick_imports import imports_without, quick_imports


def test_nothing_is_collected_meanwhile_and_what_was_imported_never() -> None:
    frozen = gc.get_freeze_count()
    with quick_imports():
        assert not gc.isenabled()
        with quick_imports():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), quick_imports():
        importlib.import_module("no_such_module_at_all")
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen


def test_a_library_is_away_only_for_those_that_are_imported_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with imports_without("colorsys"), pytest.raises(ImportError):
        importlib.import_module("colorsys")
    assert importlib.import_module("colorsys").rgb_to_hsv(0, 0, 0) == (0, 0, 0)


def test_what_is_loaded_already_stays() -> None:
    with imports_without("gc"):
        assert importlib.import_module("gc") is gc
