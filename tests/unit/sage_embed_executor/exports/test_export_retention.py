"""Exports that newer ones took the place of. Folders stand for exports; those who use them are real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from sage_embed_executor.exports.export_cache import is_intact, write_manifest
from sage_embed_executor.exports.export_retention import hold, model_place, remove_superseded, removing, write_origin
from sage_embed_executor.models.model_folder import ModelFolder

USER = """
import sys
from pathlib import Path
from sage_embed_executor.exports.export_retention import hold
assert hold(Path(sys.argv[1])) is not None
print("held", flush=True)
sys.stdin.read()
"""


def model_at(path: Path) -> ModelFolder:
    path.mkdir(parents=True, exist_ok=True)
    return ModelFolder(path, {"vocab_size": 9}, (), {}, 9)


def export_of(cache: Path, folder: ModelFolder, hashes: str, used_at: float, kind: str = "openvino-fp32") -> Path:
    """A whole export that was used last at ``used_at``, in seconds since the epoch."""
    path = cache / f"{folder.path.name}-{kind}-{hashes}"
    path.mkdir(parents=True)
    (path / "model.bin").write_bytes(b"weights")
    write_origin(path, folder)
    write_manifest(path)
    os.utime(path, (used_at, used_at))
    return path


@contextmanager
def user_of(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that serves an export."""
    process = subprocess.Popen([sys.executable, "-c", USER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    return model_at(tmp_path / "models" / "my-model")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_all_but_the_one_used_last_before_are_removed(cache: Path, folder: ModelFolder) -> None:
    oldest, recent, old = (export_of(cache, folder, f"{n}-a", at) for n, at in enumerate((100.0, 300.0, 200.0)))
    current = export_of(cache, folder, "3-a", 400.0)
    assert sorted(remove_superseded(current, folder)) == sorted([oldest, old])
    assert {path for path in cache.iterdir() if path.is_dir()} == {recent, current}
    assert is_intact(recent)


def test_other_models_forms_and_precisions_stay(cache: Path, folder: ModelFolder, tmp_path: Path) -> None:
    namesake = model_at(tmp_path / "elsewhere" / "my-model")
    others = [export_of(cache, namesake, f"{n}-b", 100.0) for n in range(3)]
    others += [export_of(cache, folder, f"{n}-c", 100.0, kind) for n, kind in enumerate(("openvino-int8", "onnx-fp32"))]
    unknown = export_of(cache, folder, "9-d", 50.0)
    (unknown / "origin.json").unlink()
    current = export_of(cache, folder, "3-a", 400.0)
    assert remove_superseded(current, folder) == []
    assert all(path.exists() for path in (*others, unknown))


def test_revisions_of_a_hub_model_supersede_each_other(cache: Path, tmp_path: Path) -> None:
    snapshots = tmp_path / "models--org--name" / "snapshots"
    old = [export_of(cache, model_at(snapshots / f"rev{n}"), f"{n}-a", 100.0 + n) for n in range(2)]
    new = model_at(snapshots / "rev2")
    assert model_place(new.path) == str(tmp_path / "models--org--name")
    assert remove_superseded(export_of(cache, new, "2-a", 400.0), new) == [old[0]]


def test_what_a_process_uses_stays_until_it_is_killed(cache: Path, folder: ModelFolder) -> None:
    used = export_of(cache, folder, "0-a", 100.0)
    current = export_of(cache, folder, "2-a", 300.0)
    with user_of(used):
        # Whoever takes it into use makes it the one used last, so one more has to stand before it.
        export_of(cache, folder, "1-a", 2**33)
        assert remove_superseded(current, folder) == []
        assert is_intact(used)
    assert remove_superseded(current, folder) == [used]


def test_using_an_export_makes_it_the_one_used_last(cache: Path, folder: ModelFolder) -> None:
    used = export_of(cache, folder, "0-a", 100.0)
    unused = export_of(cache, folder, "1-a", 200.0)
    with user_of(used):
        pass
    assert remove_superseded(export_of(cache, folder, "2-a", 300.0), folder) == [unused]


def test_what_killed_processes_left_half_made_goes_but_not_what_is_being_made(cache: Path, folder: ModelFolder) -> None:
    current = export_of(cache, folder, "2-a", 300.0)
    left, making = (cache / f"my-model-openvino-fp32-{n}-a.partial-x" for n in (0, 1))
    for path in (left, making):
        path.mkdir()
        (path / "model.bin").write_bytes(b"half")
    with FileLock(cache / "my-model-openvino-fp32-1-a.lock"):
        assert remove_superseded(current, folder) == [left]
    assert making.exists()


def test_an_export_on_its_way_out_is_not_taken_into_use(cache: Path, folder: ModelFolder) -> None:
    path = export_of(cache, folder, "0-a", 100.0)
    with removing(path) as unused:
        assert unused
        with pytest.raises(BlockingIOError):
            hold(path)
    mark = hold(path)
    assert mark is not None
    with removing(path) as unused:
        assert not unused
    os.close(mark)
    with removing(path) as unused:
        assert unused


def test_an_export_that_is_not_there_can_neither_be_used_nor_removed(cache: Path) -> None:
    assert hold(cache / "none") is None
    with removing(cache / "none") as unused:
        assert not unused
