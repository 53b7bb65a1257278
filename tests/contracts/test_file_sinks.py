"""Every sink of files holds what was written once, however often the run is killed, and shows it whole at the end."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
from fixtures.manual_clock import ManualClock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage_common.errors import UnprocessableError
from sage_kernel.connectors.collections import MemoryCollections
from sage_kernel.connectors.unfinished_file import UnfinishedFile
from sage_kernel.file_access import ANY_FILE
from sage_kernel.model_port import ModelPort
from sage_kernel.operator import Sink, State
from sage_kernel.operators.sink import SINK, SinkNode
from sage_kernel.problems import NodeFailedError
from sage_kernel.run_context import RunContext
from sage_kernel.stream_type import StreamType

SCHEMA = {"id": pl.Int64(), "text": pl.String()}


def read_folder(path: Path) -> pl.DataFrame:
    rows = sorted((int(file.stem), file.read_text()) for file in path.rglob("*.txt"))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


KINDS: dict[str, tuple[str, Callable[[Path], pl.DataFrame]]] = {
    "jsonl": ("jsonl:{}/out", lambda path: pl.read_ndjson(path, schema=SCHEMA)),
    "csv": ("csv:{}/out", lambda path: pl.read_csv(path, schema=SCHEMA)),
    "parquet": ("parquet:{}/out", pl.read_parquet),
    "parquet folder": ("parquet:{}/out/", lambda path: pl.read_parquet(path / "*.parquet")),
    "folder": ("folder:{}/out", read_folder),
}


def context(clock: ManualClock | None = None, warnings: list[tuple[str, str]] | None = None) -> RunContext:
    said: list[tuple[str, str]] = [] if warnings is None else warnings
    time = clock or ManualClock()

    async def sleep(seconds: float) -> None:
        time.advance(seconds)
        await asyncio.sleep(0)

    async def dead_letter(letter: Any) -> None:
        raise AssertionError(letter)

    return RunContext(
        models=cast(ModelPort, None), files=ANY_FILE, collections=MemoryCollections(), cache_dir=None,
        warn=lambda node, message: said.append((node, message)), skip=lambda skipped: None, dead_letter=dead_letter,
        now_us=lambda: 0, run_id="run", clock=time, sleep=sleep,
    )  # fmt: skip


def make(kind: str, folder: Path, where: RunContext | None = None, **options: Any) -> Sink:
    if kind == "folder":
        options = {"id": "{id}.txt", **options}
    node = SinkNode(op="sink", uri=KINDS[kind][0].format(folder), **options)
    sink = SINK.build("sink", node, where or context(), (StreamType(SCHEMA),))
    assert isinstance(sink, Sink)
    return sink


def frame(first: int, end: int) -> pl.DataFrame:
    return pl.DataFrame({"id": range(first, end), "text": [f"text\n{n}" for n in range(first, end)]}, schema=SCHEMA)


async def run_killed(kind: str, folder: Path, steps: Sequence[tuple[int, bool, bool]]) -> int:
    """Write batches; after each perhaps take a checkpoint, perhaps be killed and go on from the last one."""
    written, kept = 0, 0
    state: State | None = None
    sink = make(kind, folder)
    for count, takes_checkpoint, is_killed in steps:
        await sink.write(frame(written, written + count))
        written += count
        if takes_checkpoint:
            state, kept = await sink.flush(), written
        if is_killed and state is not None:
            await sink.close()  # what a checkpoint knows of stays, as after a kill
            sink = make(kind, folder)
            await sink.restore(State(dict(state.values)))
            written = kept
    await sink.flush()
    await sink.publish()
    await sink.publish()
    await sink.close()
    return written


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.booleans()), max_size=12))
def test_a_run_that_is_killed_writes_every_record_once(
    kind: str, steps: list[tuple[int, bool, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("out")
    written = asyncio.run(run_killed(kind, folder, steps))
    # Text files of records that come again are the same files.
    assert KINDS[kind][1](folder / "out").equals(frame(0, written)) or kind == "folder"
    assert os.listdir(folder) == ["out"]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_published_stays_when_the_run_goes_on_from_its_last_checkpoint(
    kind: str, tmp_path: Path
) -> None:
    sink = make(kind, tmp_path)
    await sink.write(frame(0, 5))
    state = await sink.flush()
    await sink.publish()
    again = make(kind, tmp_path)
    await again.restore(state)
    await again.publish()
    await again.close()
    assert KINDS[kind][1](tmp_path / "out").equals(frame(0, 5))


STOPPED_IN_MID_WRITE = """
import asyncio, json, os, signal, sys
from pathlib import Path
from test_file_sinks import frame, make
from sage_kernel.runtime.fenced_sink import FencedSink

def may_write():
    # It may, and before it does it is stopped for as long as others like.
    os.kill(os.getpid(), signal.SIGSTOP)
    return True

async def main(kind, folder):
    sink = make(kind, Path(folder))
    await sink.write(frame(0, 5))
    print(json.dumps((await sink.flush()).values), flush=True)
    await FencedSink(sink, may_write).write(frame(100, 105))
    await sink.flush()
    await sink.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "parquet folder"])
def test_a_write_that_was_begun_before_the_run_was_taken_over_reaches_nobody(kind: str, tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED_IN_MID_WRITE, kind, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as stopped:
        assert stopped.stdout is not None
        state = State(json.loads(stopped.stdout.readline()))
        os.waitpid(stopped.pid, os.WUNTRACED)

        async def take_over() -> None:
            sink = make(kind, tmp_path)
            await sink.restore(state)
            await sink.write(frame(5, 8))
            await sink.flush()
            stopped.send_signal(signal.SIGCONT)
            assert await asyncio.to_thread(stopped.wait, 30) == 0
            await sink.write(frame(8, 10))
            await sink.flush()
            await sink.publish()
            await sink.close()

        asyncio.run(take_over())
    assert KINDS[kind][1](tmp_path / "out").equals(frame(0, 10))
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "parquet folder"])
async def test_a_run_without_a_checkpoint_leaves_nothing_and_the_old_file_stays(kind: str, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    sink = make(kind, tmp_path)
    await sink.write(frame(0, 5))
    await sink.close()
    assert (tmp_path / "out").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


async def test_a_full_disk_is_waited_for_and_costs_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = [True] * 30
    append = UnfinishedFile.append

    def failing(self: UnfinishedFile, data: bytes) -> None:
        if full:
            full.pop()
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, data)

    monkeypatch.setattr(UnfinishedFile, "append", failing)
    warnings: list[tuple[str, str]] = []
    sink = make("jsonl", tmp_path, context(ManualClock(), warnings))
    await sink.write(frame(0, 5))
    await sink.publish()
    assert KINDS["jsonl"][1](tmp_path / "out").equals(frame(0, 5))
    assert [node for node, _ in warnings] == ["sink"]
    assert "waits for room on the disk of" in warnings[0][1]
    assert "No space left" in warnings[0][1]


async def test_patience_ends_and_another_error_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    sink = make("jsonl", tmp_path, context(clock), patience="10s")
    for number, seconds in ((errno.ENOSPC, 10.0), (errno.EIO, 0.0)):
        began = clock.now()

        def failing(self: UnfinishedFile, data: bytes, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(UnfinishedFile, "append", failing)
        with pytest.raises(OSError, match=os.strerror(number)):
            await sink.write(frame(0, 1))
        assert clock.now() - began == pytest.approx(seconds, abs=0.01)


async def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path)
    sink = make("folder", tmp_path, id="{text}")
    for name in ("../x", "/etc/x", "a/../../x", "", ".", "a//b", "link/x", "x" * 300, "a\nb", ".hidden"):
        with pytest.raises((UnprocessableError, NodeFailedError)):
            await sink.write(pl.DataFrame({"id": [1], "text": [name]}))
    assert os.listdir(tmp_path) == ["out"]
    await sink.write(pl.DataFrame({"id": [1], "text": ["a/b.md"]}))
    assert (tmp_path / "out" / "a" / "b.md").read_text() == "a/b.md"


async def test_a_list_has_no_form_in_csv(tmp_path: Path) -> None:
    with pytest.raises(UnprocessableError, match="'v' is a list or a record"):
        await make("csv", tmp_path).write(pl.DataFrame({"v": [[1]]}))
