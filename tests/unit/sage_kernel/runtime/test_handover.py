from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_common.errors import UnavailableError
from sage_kernel.runtime.handover import HandedOverParts, RecordParts
from sage_kernel.state.blobs import FileBlobs

# How many records each write has, and whether a checkpoint follows; a run is killed behind its last.
runs = st.lists(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=6), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(runs)
def test_what_is_handed_over_is_what_was_written_up_to_each_checkpoint_and_behind_the_last(
    written: list[list[tuple[int, bool]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_check(Path(folder), written))


async def _check(folder: Path, written: list[list[tuple[int, bool]]]) -> None:
    blobs = FileBlobs(folder)
    kept: list[int] = []
    checkpoint = None
    next_number = 0
    for epoch, writes in enumerate(written, 1):
        parts = RecordParts(blobs, "out", epoch)
        if checkpoint is not None:
            await parts.restore(checkpoint)
        current = list(kept)
        for count, is_checkpoint in writes:
            numbers = list(range(next_number, next_number + count))
            next_number += count
            current += numbers
            # Their fields may change on the way.
            frame = pl.DataFrame({"n": numbers}, schema={"n": pl.Int64})
            await parts.write(frame.with_columns(more=pl.lit("x")) if count % 2 else frame)
            if is_checkpoint:
                checkpoint, kept = await parts.flush(), list(current)
    await parts.flush()
    await parts.publish()
    source = HandedOverParts("out", [(blobs, len(written))])
    found = [batch async for batch in source.batches(0, None)]
    assert [n for batch in found for n in batch.frame["n"]] == current
    # From any position the rest comes.
    for index, batch in enumerate(found):
        rest = [each.frame.height async for each in source.batches(0, batch.position)]
        assert rest == [each.frame.height for each in found[index + 1 :]]


async def test_what_is_not_within_reach_says_what_workers_have_to_share(tmp_path: Path) -> None:
    source = HandedOverParts("out", [(FileBlobs(tmp_path), 1)])
    with pytest.raises(UnavailableError, match=r"share dataflow_worker\.checkpoint_dir"):
        await anext(aiter(source.batches(0, None)))
