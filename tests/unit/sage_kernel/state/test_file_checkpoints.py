from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sage_kernel.operator import State
from sage_kernel.state import blobs
from sage_kernel.state.checkpoint import Checkpoint, NodeCheckpoint
from sage_kernel.state.checkpoint_file import TornCheckpointError, read_checkpoint, write_checkpoint
from sage_kernel.state.file_checkpoints import FileCheckpoints

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
frames = st.lists(st.tuples(st.integers(-(2**40), 2**40), st.text(max_size=8)), max_size=20).map(
    lambda rows: pl.DataFrame(rows, schema={"n": pl.Int64, "text": pl.String}, orient="row")
)
states = st.builds(
    State,
    st.dictionaries(st.text(max_size=6), json_values, max_size=3),
    st.dictionaries(st.text(min_size=1, max_size=6), frames, max_size=3),
)
nodes = st.builds(NodeCheckpoint, st.sampled_from(["source", "llm"]), states, st.booleans(), states)
checkpoints = st.builds(
    Checkpoint,
    st.integers(1, 10**9),
    st.text("0123456789abcdef", min_size=8, max_size=8),
    st.dictionaries(st.text(min_size=1, max_size=8), nodes, max_size=3),
    st.booleans(),
)


def numbered(number: int) -> Checkpoint:
    frame = pl.DataFrame({"n": list(range(number))})
    return Checkpoint(number, "hash", {"a": NodeCheckpoint("source", State({"position": number}, {"f": frame}))})


def assert_same(left: Checkpoint, right: Checkpoint) -> None:
    assert (left.number, left.spec_hash, left.is_final) == (right.number, right.spec_hash, right.is_final)
    assert list(left.nodes) == list(right.nodes)
    for node, other in zip(left.nodes.values(), right.nodes.values(), strict=True):
        assert (node.op, node.is_finished) == (other.op, other.is_finished)
        for state, read in ((node.state, other.state), (node.inbox, other.inbox)):
            assert state.values == read.values
            assert list(state.frames) == list(read.frames)
            for name, frame in state.frames.items():
                assert_frame_equal(frame, read.frames[name])


@given(checkpoints)
def test_what_is_written_is_read(checkpoint: Checkpoint) -> None:
    file = io.BytesIO()
    write_checkpoint(checkpoint, file)
    assert_same(checkpoint, read_checkpoint(file))


@given(checkpoints, st.data())
def test_a_checkpoint_that_was_cut_off_or_changed_is_never_taken(checkpoint: Checkpoint, data: Any) -> None:
    file = io.BytesIO()
    write_checkpoint(checkpoint, file)
    whole = file.getvalue()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(TornCheckpointError):
        read_checkpoint(io.BytesIO(whole[:cut]))
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= 0xFF
    with pytest.raises(TornCheckpointError):
        read_checkpoint(io.BytesIO(bytes(changed)))


async def test_the_last_is_returned_and_two_are_kept(tmp_path: Path) -> None:
    store = FileCheckpoints(tmp_path / "run")
    assert await store.latest() is None
    for number in (1, 2, 3):
        await store.save(numbered(number))
    latest = await store.latest()
    assert latest is not None
    assert_same(latest, numbered(3))
    assert len(list((tmp_path / "run").iterdir())) == 2
    await store.discard()
    assert await store.latest() is None


async def test_a_frame_stays_readable_when_its_file_is_dropped(tmp_path: Path) -> None:
    store = FileCheckpoints(tmp_path)
    await store.save(numbered(1))
    first = await store.latest()
    for number in (2, 3):
        await store.save(numbered(number))
    assert first is not None
    assert first.nodes["a"].state.frames["f"].height == 1


async def test_torn_and_foreign_files_are_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = FileCheckpoints(tmp_path)
    await store.save(numbered(1))
    await store.save(numbered(2))
    newest = tmp_path / "checkpoint-000000000002.sage"
    newest.write_bytes(newest.read_bytes()[:-7])
    (tmp_path / "checkpoint-000000000003.sage").write_text("a letter")
    (tmp_path / "notes.txt").write_text("mine")
    latest = await store.latest()
    assert latest is not None
    assert latest.number == 1
    assert capsys.readouterr().out.count("not whole") == 1


async def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileCheckpoints(tmp_path)
    await store.save(numbered(1))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(blobs.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        await store.save(numbered(2))
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["checkpoint-000000000001.sage"]
    latest = await store.latest()
    assert latest is not None
    assert latest.number == 1


async def test_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    real_sync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(blobs.os, "fsync", lambda fd: (events.append("sync"), real_sync(fd)))
    monkeypatch.setattr(blobs.os, "replace", lambda a, b: (events.append("rename"), real_replace(a, b)))

    def write(file: BinaryIO) -> None:
        file.write(b"x")

    await blobs.FileBlobs(tmp_path).put("a", write)
    assert events == ["sync", "rename", "sync"]


def test_a_disk_that_fills_in_the_middle_of_a_frame_is_an_error_of_the_system() -> None:
    class FullAfterAFewBytes(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() + len(data) > 1000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(numbered(10_000), FullAfterAFewBytes())
