from __future__ import annotations

import errno
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sage_common.errors import UnavailableError
from sage_kernel.runtime import spilled_frame
from sage_kernel.runtime.element_queue import ElementQueue, MemoryQueue
from sage_kernel.runtime.elements import END, END_OF_TIME_US, START_OF_TIME_US, Element, Watermark
from sage_kernel.runtime.input_watermarks import InputWatermarks
from sage_kernel.runtime.slice_buffer import SliceBuffer
from sage_kernel.runtime.spilled_frame import SpilledFrame
from sage_kernel.runtime.spilling_queue import SpillingQueue


def frame(*numbers: int) -> pl.DataFrame:
    return pl.DataFrame({"n": list(numbers)}, schema={"n": pl.Int64})


def numbers_of(elements: list[Element]) -> list[int]:
    return [n for element in elements if isinstance(element, pl.DataFrame) for n in element["n"]]


def test_a_queue_is_full_by_batches_records_or_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = MemoryQueue(2)
    queue.put(frame(*range(300)))
    queue.put(Watermark(3))
    assert not queue.is_full
    queue.put(frame(*range(300)))
    assert queue.is_full
    assert queue.records == 600
    queue.get()
    assert not queue.is_full
    many = MemoryQueue(100)
    many.put(frame(*range(140_000)))
    assert many.is_full
    large = MemoryQueue(100)
    large.put(pl.DataFrame({"text": ["x" * 65_000_000]}))
    large.put(pl.DataFrame({"text": ["x" * 5_000_000]}))
    assert large.is_full


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4) | st.integers(0, 99)), st.lists(st.booleans()))
def test_a_spilling_queue_keeps_order_and_is_never_full(
    tmp_path_factory: pytest.TempPathFactory, entries: list[list[int] | int], takes: list[bool]
) -> None:
    folder = tmp_path_factory.mktemp("spill")
    queue = SpillingQueue(1, folder)
    put: list[Element] = [frame(*entry * 90) if isinstance(entry, list) else Watermark(entry) for entry in entries]
    taken: list[Element] = []
    for step, element in enumerate(put):
        queue.put(element)
        assert not queue.is_full
        if step < len(takes) and takes[step] and len(queue):
            taken.append(queue.get())
    assert queue.records == len(numbers_of(put)) - len(numbers_of(taken))
    seen = [item.read() if isinstance(item, SpilledFrame) else item for item in queue.waiting()]
    rest = []
    while len(queue):
        rest.append(queue.get())
    assert queue.records == 0
    assert numbers_of(seen) == numbers_of(rest)
    assert numbers_of([*taken, *rest]) == numbers_of(put)
    assert not list(folder.iterdir())


def test_single_records_fill_no_queue_and_are_taken_out_together() -> None:
    queue = MemoryQueue(1)
    for n in range(200):
        queue.put(frame(n))
    assert not queue.is_full
    queue.put(Watermark(1))
    for n in range(200, 300):
        queue.put(frame(n))
    assert queue.is_full
    assert numbers_of([queue.get()]) == list(range(200))
    assert queue.get() == Watermark(1)
    assert numbers_of([queue.get()]) == list(range(200, 300))
    assert queue.records == len(queue) == 0


def test_only_the_last_of_several_watermarks_in_a_row_is_kept(tmp_path: Path) -> None:
    queues: tuple[ElementQueue, ...] = (MemoryQueue(1), SpillingQueue(1, tmp_path))
    for queue in queues:
        for time in range(1000):
            queue.put(Watermark(time))
        assert len(queue) == 1
        queue.put(frame(*range(300)))
        queue.put(frame(*range(300)))
        for time in range(1000):
            queue.put(Watermark(time))
        assert len(queue) == 4


def test_a_full_disk_is_said_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = SpillingQueue(1, tmp_path)
    queue.put(frame(*range(2000)))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spilled_frame.os, "pwrite", full)
    with pytest.raises(UnavailableError, match=f"has no room left; free space in {tmp_path}"):
        queue.put(frame(*range(2000)))


def test_what_a_checkpoint_refers_to_stays_readable(tmp_path: Path) -> None:
    queue = SpillingQueue(1, tmp_path)
    for n in range(3):
        queue.put(frame(*[n] * 2000))
    waiting = list(queue.waiting())
    queue.get()
    queue.close()
    last = waiting[-1]
    assert isinstance(last, SpilledFrame)
    assert_frame_equal(last.read(), frame(*[2] * 2000))


marks = st.tuples(st.integers(0, 2), st.integers(-50, 50), st.sampled_from(["mark", "idle", "end"]))


@given(st.lists(marks, max_size=40))
def test_a_combined_watermark_never_goes_back_and_never_passes_an_active_input(
    steps: list[tuple[int, int, str]],
) -> None:
    combined = InputWatermarks(3)
    times, idle, ended = [START_OF_TIME_US] * 3, [False] * 3, [False] * 3
    last = START_OF_TIME_US
    for index, time, kind in steps:
        if ended[index]:
            continue
        if kind == "end":
            ended[index] = True
            news = combined.end(index)
        else:
            times[index], idle[index] = max(times[index], time), kind == "idle"
            news = combined.advance(index, Watermark(time, is_idle=idle[index]))
        resumed = InputWatermarks(3)
        resumed.restore(combined.snapshot())
        assert resumed.snapshot() == combined.snapshot()
        if news is None:
            continue
        assert news.time_us >= last
        active = [times[i] for i in range(3) if not idle[i] and not ended[i]]
        if active and news.time_us > last:
            assert news.time_us <= min(active)
        assert news.is_idle == (not active and not all(ended))
        last = news.time_us
    if all(ended):
        assert last == END_OF_TIME_US


def test_an_ended_input_brings_no_idle_one_to_the_end_of_time() -> None:
    combined = InputWatermarks(2)
    combined.advance(0, Watermark(10))
    combined.advance(1, Watermark(5))
    assert combined.advance(1, Watermark(5, is_idle=True)) == Watermark(10)
    assert combined.end(0) == Watermark(10, is_idle=True)
    assert combined.advance(1, Watermark(12)) == Watermark(12)


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6) | st.integers(0, 99), max_size=20), st.integers(1, 7)
)
def test_slices_hold_every_record_in_order_and_watermarks_never_come_early(
    entries: list[list[int] | int], most: int
) -> None:
    buffer = SliceBuffer(most)
    before: dict[int, int] = {}
    count = 0
    for position, entry in enumerate(entries):
        buffer.put(frame(*entry) if isinstance(entry, list) else Watermark(position))
        count += len(entry) if isinstance(entry, list) else 0
        before[position] = count
    assert buffer.records == count
    out: list[int] = []
    last = -1
    while len(buffer):
        piece, watermark = buffer.take()
        if piece is not None:
            assert piece.height <= most
            out += piece["n"].to_list()
        if watermark is not None:
            assert len(out) >= before[watermark.time_us]
            assert watermark.time_us > last
            last = watermark.time_us
    assert out == [n for entry in entries if isinstance(entry, list) for n in entry]
    assert buffer.records == 0


def test_records_of_different_fields_are_never_in_one_slice() -> None:
    buffer = SliceBuffer(10)
    buffer.put(frame(1))
    buffer.put(pl.DataFrame({"other": ["x"]}))
    first, second = buffer.take().frame, buffer.take().frame
    assert first is not None
    assert second is not None
    assert (first.columns, second.columns) == (["n"], ["other"])


def test_an_end_is_an_element_like_others() -> None:
    queue = MemoryQueue(1)
    queue.put(END)
    assert queue.get() is END
