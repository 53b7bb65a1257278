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
