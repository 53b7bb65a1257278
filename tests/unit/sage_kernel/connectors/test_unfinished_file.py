"""A disk that is nearly full takes a part of what is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fixtures.small_disk import small_disk

from sage_kernel.connectors.unfinished_file import UnfinishedFile


def test_a_block_that_fits_in_part_leaves_nothing_and_can_be_written_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        ballast = disk.path / "half"
        ballast.write_bytes(bytes(512 * 1024))
        file = UnfinishedFile(disk.path / "out", "run")
        block = os.urandom(400 * 1024)
        file.append(block)
        with pytest.raises(OSError, match="No space left"):
            file.append(block)
        assert file.length == len(block)
        ballast.unlink()
        file.append(block)
        file.publish()
        assert (disk.path / "out").read_bytes() == block * 2


def test_a_run_that_was_taken_over_touches_nothing_of_the_one_that_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    before, after = UnfinishedFile(path, "run"), UnfinishedFile(path, "run")
    before.append(b"old\n")
    after.append(b"new\n")
    before.append(b"older\n")
    before.close()
    after.publish()
    assert path.read_bytes() == b"new\n"
    assert list(tmp_path.iterdir()) == [path]


def test_what_an_attempt_writes_behind_its_checkpoint_counts_for_nobody(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    stopped = UnfinishedFile(path, "run")
    stopped.append(b"1\n2\n")
    at_checkpoint = stopped.sync()
    stopped.append(b"lost\n")
    second = UnfinishedFile(path, "run")
    second.restore(at_checkpoint)
    second.append(b"3\n")
    # Not published by whoever wakes up, nor mixed into the other's lines.
    stopped.append(b"late\n")
    third = UnfinishedFile(path, "run")
    third.restore(second.sync())
    second.append(b"later\n")
    third.append(b"4\n")
    assert third.length == len(b"1\n2\n3\n4\n")
    third.publish()
    stopped.append(b"last\n")
    stopped.close()
    second.close()
    assert path.read_bytes() == b"1\n2\n3\n4\n"
    assert list(tmp_path.iterdir()) == [path]


def test_an_attempt_that_goes_on_from_the_last_checkpoint_finds_the_file_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    first, second, other = UnfinishedFile(path, "run"), UnfinishedFile(path, "run"), UnfinishedFile(path, "run")
    first.append(b"1\n")
    at_end = first.sync()
    second.restore(at_end)
    first.publish()
    # It had been taken over before it put the file there.
    second.publish()
    other.restore(at_end)
    other.publish()
    assert path.read_bytes() == b"1\n"
    path.unlink()
    with pytest.raises(FileNotFoundError, match="start again"):
        UnfinishedFile(path, "run").restore(at_end)
