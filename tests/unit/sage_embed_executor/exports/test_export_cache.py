"""Exports with the real model and the real runtime, in real children."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sage_common import paths
from sage_common.errors import ConfigurationError
from sage_embed_executor.backends import openvino_model
from sage_embed_executor.backends.openvino_model import EXPORT as OPENVINO
from sage_embed_executor.child_process import ChildRunner
from sage_embed_executor.exports import export_cache, export_child
from sage_embed_executor.exports.export_cache import MANIFEST, cache_folder, export_path, exported, is_intact
from sage_embed_executor.exports.export_form import Precision
from sage_embed_executor.exports.export_retention import ORIGIN, removing
from sage_embed_executor.exports.fingerprint import model_fingerprint
from sage_embed_executor.models.model_folder import ModelFolder, read_model_folder

pytest.importorskip("openvino")
pytestmark = pytest.mark.timeout(200)
FP32 = Precision.FP32


class NoChildren(ChildRunner):
    def run(self, *_: object) -> dict[str, object]:
        raise AssertionError("no child should have been needed")


class CopyingChild(ChildRunner):
    """The real child's work in this process, but for the tracing, of which ``made`` has the files."""

    def __init__(self, made: Path) -> None:
        super().__init__()
        self.made = made

    def run(self, module: str, request: Mapping[str, Any], timeout_seconds: float) -> dict[str, Any]:
        def trace(_folder: ModelFolder, target: Path) -> None:
            for file in self.made.iterdir():
                if file.name not in (MANIFEST, ORIGIN):
                    shutil.copy(file, target)

        assert module == export_child.__name__
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(openvino_model, "trace", trace)
            return export_child.run_export(dict(request))


def test_two_who_want_the_same_export_make_it_once_and_leave_nothing_else(cache: Path, folder: ModelFolder) -> None:
    target = export_path(folder, OPENVINO, FP32)
    names = {path.name for path in cache_folder().iterdir()}
    assert names == {target.name, f"{target.name}.lock"}
    assert is_intact(target)


def test_a_whole_export_is_taken_as_it_is(cache: Path, folder: ModelFolder) -> None:
    assert exported(folder, OPENVINO, FP32, NoChildren()) == export_path(folder, OPENVINO, FP32)


@pytest.mark.parametrize("damage", ["cut", "changed", "file gone", "manifest cut", "left partial"])
def test_a_damaged_export_is_made_again(cache: Path, made_exports: Path, folder: ModelFolder, damage: str) -> None:
    target = export_path(folder, OPENVINO, FP32)
    child = CopyingChild(made_exports / target.relative_to(cache))
    weights = target / "model.bin"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "changed":
        data = bytearray(weights.read_bytes())
        data[len(data) // 2] ^= 1
        weights.write_bytes(data)
    elif damage == "file gone":
        weights.unlink()
    elif damage == "manifest cut":
        (target / "manifest.json").write_bytes(b'{"model.bin": [')
    else:
        target.rename(target.parent / f"{target.name}.partial-abc")
    assert not is_intact(target)
    assert is_intact(exported(folder, OPENVINO, FP32, child))
    assert not list(cache_folder().glob("*.partial-*"))


def test_other_weights_are_another_export(folder: ModelFolder, tmp_path: Path) -> None:
    copy = tmp_path / folder.path.name
    shutil.copytree(folder.path, copy)
    assert model_fingerprint(copy) == model_fingerprint(folder.path)
    assert export_path(read_model_folder(copy), OPENVINO, FP32) == export_path(folder, OPENVINO, FP32)
    with (copy / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x7f")
    assert model_fingerprint(copy) != model_fingerprint(folder.path)


def test_a_new_export_takes_the_place_of_older_ones(cache: Path, made_exports: Path, folder: ModelFolder) -> None:
    target = export_path(folder, OPENVINO, FP32)
    child = CopyingChild(made_exports / target.relative_to(cache))
    assert (target / ORIGIN).exists()
    stem = target.name.rsplit("-", 2)[0]
    older = [target.with_name(f"{stem}-{number:016x}-{number:016x}") for number in range(3)]
    for number, path in enumerate(older):
        shutil.copytree(target, path)
        os.utime(path, (number, number))
    assert exported(folder, OPENVINO, FP32, NoChildren()) == target
    assert all(path.exists() for path in older), "only a new export supersedes"
    (target / "model.bin").unlink()
    assert is_intact(exported(folder, OPENVINO, FP32, child))
    assert [path.exists() for path in older] == [False, False, True]
    with removing(target) as unused:
        assert not unused, "this process uses it"


def test_where_exports_cannot_be_made_one_of_any_maker_is_taken(
    cache: Path, folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = export_cache.versions
    monkeypatch.setattr(
        export_cache, "versions", lambda names: {k: v for k, v in original(names).items() if k != "torch"}
    )
    assert is_intact(exported(folder, OPENVINO, FP32, NoChildren()))
    shutil.rmtree(cache_folder())
    with pytest.raises(ConfigurationError, match="torch to make it are not installed"):
        exported(folder, OPENVINO, FP32, NoChildren())


def test_a_place_that_cannot_be_written_is_named_with_the_remedy(
    folder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(
        ConfigurationError, match=r"cannot export the model to .* XDG_CACHE_HOME names another"
    ) as caught:
        exported(folder, OPENVINO, FP32, ChildRunner())
    assert caught.value.code == "export_failed"


def test_serving_an_export_imports_no_torch_and_starts_soon(cache: Path, folder: ModelFolder) -> None:
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from sage_embed_executor.backends.backend import Runtime\n"
        "from sage_embed_executor.backends.registry import load_backend\n"
        "from sage_embed_executor.models.model_folder import read_model_folder\n"
        f"backend = load_backend('openvino', read_model_folder(Path({str(folder.path)!r})), Runtime())\n"
        "assert backend.embed([np.array([101, 7592, 102], dtype=np.int32)]).shape == (1, 384)\n"
        "assert not {'torch', 'transformers', 'nncf'} & set(sys.modules), sorted(sys.modules)"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert time.monotonic() - began < 30
    assert paths.cache_dir().exists()
