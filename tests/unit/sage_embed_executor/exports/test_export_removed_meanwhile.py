"""Exports that another process removes while they are made or taken into use. What is exported is a word."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sage_common.errors import ConfigurationError
from sage_embed_executor.child_process import ChildRunner
from sage_embed_executor.exports import export_child, export_retention
from sage_embed_executor.exports.export_cache import ATTEMPTS, EXPORT_FAILED, export_path, exported, is_intact
from sage_embed_executor.exports.export_child import export
from sage_embed_executor.exports.export_form import ExportForm, Precision
from sage_embed_executor.exports.export_retention import hold, removing
from sage_embed_executor.models.model_folder import ModelFolder

FP32, INT8 = Precision.FP32, Precision.INT8
MAKER = """
def trace(folder, target):
    (target / "model.txt").write_text("traced")

def reduce(source, target):
    (target / "model.txt").write_text((source / "model.txt").read_text() + " and reduced")
"""
Meddle = Callable[[Path], None]


@pytest.fixture
def form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExportForm:
    (tmp_path / "maker_of_words.py").write_text(MAKER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    makers: dict[Precision, tuple[str, ...]] = {FP32: ("orjson",), INT8: ("orjson",)}
    return ExportForm("words", "maker_of_words", "orjson", makers, revision=1)


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    path = tmp_path / "my-model"
    path.mkdir()
    (path / "config.json").write_text("{}")
    return ModelFolder(path, {"vocab_size": 9}, (), {}, 9)


@pytest.fixture
def meddling(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, bool], list[Path]]:
    """Sees to it that the source of an export is removed, or about to be, the first few times it is wanted."""

    def begin(times: int, under_way: bool) -> list[Path]:
        wanted: list[Path] = []

        def late(source: Path) -> int | None:
            wanted.append(source)
            if len(wanted) > times:
                return hold(source)
            with removing(source) as unused:
                assert unused
                if under_way:
                    return hold(source)
                shutil.rmtree(source)
            return hold(source)

        monkeypatch.setattr(export_child, "hold", late)
        return wanted

    return begin


class InThisProcess(ChildRunner):
    """Makes exports, and lets something happen to each before it is taken into use."""

    def __init__(self, model: ModelFolder, form: ExportForm, then: list[Meddle]) -> None:
        super().__init__()
        self._make = lambda: export(model, form, FP32)
        self._then = then
        self.runs = 0

    def run(self, *_: Any) -> dict[str, Any]:
        made = self._make()
        self.runs += 1
        if self._then:
            self._then.pop(0)(made)
        return {"folder": str(made)}


def damage(path: Path) -> None:
    (path / "model.txt").write_text("cut")


@pytest.mark.parametrize("under_way", [False, True], ids=["removed", "being removed"])
def test_what_an_export_is_made_of_is_made_again_when_it_was_removed(
    model: ModelFolder, form: ExportForm, meddling: Callable[[int, bool], list[Path]], under_way: bool
) -> None:
    wanted = meddling(ATTEMPTS - 1, under_way)
    made = export(model, form, INT8)
    assert (made / "model.txt").read_text() == "traced and reduced"
    assert is_intact(export_path(model, form, FP32))
    assert len(wanted) == ATTEMPTS
    with removing(wanted[-1]) as unused:
        assert not unused, "it is kept for as long as this process lives"


@pytest.mark.parametrize("under_way", [False, True], ids=["removed", "being removed"])
def test_one_that_is_removed_each_time_is_not_blamed_on_the_disk(
    model: ModelFolder, form: ExportForm, meddling: Callable[[int, bool], list[Path]], under_way: bool
) -> None:
    meddling(ATTEMPTS, under_way)
    with pytest.raises(ConfigurationError, match=f"was removed {ATTEMPTS} times before it could be used") as caught:
        export(model, form, INT8)
    assert caught.value.code == "export_removed" != EXPORT_FAILED
    assert "MB are free" not in caught.value.message


def test_an_export_that_went_before_it_was_used_is_made_again(model: ModelFolder, form: ExportForm) -> None:
    children = InThisProcess(model, form, [shutil.rmtree])
    assert is_intact(exported(model, form, FP32, children))
    assert children.runs == 2


def test_an_export_that_goes_each_time_is_not_blamed_on_the_disk(model: ModelFolder, form: ExportForm) -> None:
    children = InThisProcess(model, form, [shutil.rmtree] * ATTEMPTS)
    with pytest.raises(ConfigurationError) as caught:
        exported(model, form, FP32, children)
    assert (caught.value.code, children.runs) == ("export_removed", ATTEMPTS)


def test_an_export_that_is_damaged_once_made_is_blamed_on_the_disk(model: ModelFolder, form: ExportForm) -> None:
    children = InThisProcess(model, form, [damage])
    with pytest.raises(ConfigurationError, match="check the disk") as caught:
        exported(model, form, FP32, children)
    assert (caught.value.code, children.runs) == (EXPORT_FAILED, 1)


def test_a_folder_that_went_while_it_was_marked_is_not_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "export"
    path.mkdir()
    lock = export_retention.fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        path.rename(tmp_path / "removed")
        lock(descriptor, operation)

    monkeypatch.setattr(export_retention.fcntl, "flock", late)
    assert hold(path) is None
