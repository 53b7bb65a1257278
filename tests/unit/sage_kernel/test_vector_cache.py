from __future__ import annotations

import errno
import stat
from pathlib import Path

import numpy as np
import pytest

from sage_kernel import vector_cache
from sage_kernel.vector_cache import VectorCache


def vector(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)


def opened(path: Path, warnings: list[str]) -> VectorCache:
    cache = VectorCache(path, warnings.append)
    cache.load()
    return cache


def test_vectors_survive_in_a_private_file(tmp_path: Path) -> None:
    warnings: list[str] = []
    path = tmp_path / "vectors" / "kb.npz"
    cache = opened(path, warnings)
    cache.put("häß \ud800", vector(1, 2))
    cache.save()
    again = opened(path, warnings)
    assert again.get("häß \ud800") is not None
    assert np.array_equal(again.get("häß \ud800"), vector(1, 2))
    assert again.get("other") is None
    assert warnings == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["kb.npz"]


@pytest.mark.parametrize("damage", ["garbage", "truncated", "flipped", "empty", "pickle", "shapes", "nan"])
def test_a_damaged_file_is_replaced_with_a_warning(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "kb.npz"
    cache = opened(path, [])
    for number in range(50):
        cache.put(str(number), vector(number, 1))
    cache.save()
    whole = path.read_bytes()
    keys = np.zeros((2, 32), dtype=np.uint8)
    if damage == "garbage":
        path.write_bytes(b"not an archive")
    elif damage == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        middle = whole.index(vector(25, 1).tobytes())
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "pickle":
        np.savez(path, format=np.int64(1), keys=np.array([{"a": 1}]), vectors=np.zeros((1, 2), np.float32))
    elif damage == "shapes":
        np.savez(path, format=np.int64(1), keys=keys, vectors=np.zeros((3, 2), np.float32))
    else:
        np.savez(path, format=np.int64(1), keys=keys, vectors=np.full((2, 2), np.nan, np.float32))
    warnings: list[str] = []
    rebuilt = opened(path, warnings)
    assert len(rebuilt) == 0
    assert len(warnings) == 1
    assert "made again" in warnings[0]
    rebuilt.put("a", vector(1, 2))
    rebuilt.save()
    assert opened(path, []).get("a") is not None


def test_a_full_disk_gives_a_warning_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    path = tmp_path / "kb.npz"
    cache = opened(path, warnings)
    cache.put("a", vector(1, 2))
    cache.save()
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(vector_cache.os, "fsync", full)
    cache.put("b", vector(3, 4))
    cache.save()
    assert "No space left on device" in warnings[0]
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert cache.get("b") is not None


def test_what_another_process_saved_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "kb.npz"
    ours, theirs = opened(path, []), opened(path, [])
    ours.put("a", vector(1, 2))
    theirs.put("b", vector(3, 4))
    ours.save()
    theirs.save()
    assert len(opened(path, [])) == 2


def test_the_least_recently_used_go_first_when_the_file_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_cache, "MAX_BYTES", 2 * (2 * 4 + 32))
    path = tmp_path / "kb.npz"
    cache = opened(path, [])
    for text in "abc":
        cache.put(text, vector(1, 2))
    cache.get("a")
    cache.save()
    kept = opened(path, [])
    assert [text for text in "abc" if kept.get(text) is not None] == ["a", "c"]


def test_vectors_of_another_length_empty_it(tmp_path: Path) -> None:
    cache = opened(tmp_path / "kb.npz", [])
    cache.put("a", vector(1, 2))
    cache.put("b", vector(1, 2, 3))
    assert cache.get("a") is None
    assert len(cache) == 1
