"""Runs that are stopped at any moment and go on from their last checkpoint give what an uninterrupted run gives."""

from __future__ import annotations

import asyncio
import io
import json
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fixtures.eventually import eventually

from sage_common.errors import ConflictError, UnavailableError
from sage_kernel.builder import Pipeline, Stream
from sage_kernel.problems import NodeFailedError
from sage_kernel.runtime.executor import Execution
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.spec import PipelineSpec
from sage_kernel.state.checkpoint import Checkpoint
from sage_kernel.state.checkpoint_file import read_checkpoint, write_checkpoint

RECORDS = 300
Build = Callable[[Path], PipelineSpec]


class BytesCheckpoints:
    """Checkpoints as bytes in memory, so that nothing of a run can leak into the next one."""

    def __init__(self) -> None:
        self.saved: list[bytes] = []
        self.fail_next = 0
        self.on_save: Callable[[Checkpoint], None] = lambda checkpoint: None
        self.discarded = False

    async def save(self, checkpoint: Checkpoint) -> None:
        if self.fail_next:
            self.fail_next -= 1
            raise OSError(28, "No space left on device")
        file = io.BytesIO()
        write_checkpoint(checkpoint, file)
        self.saved.append(file.getvalue())
        self.on_save(checkpoint)

    async def latest(self) -> Checkpoint | None:
        return read_checkpoint(io.BytesIO(self.saved[-1])) if self.saved else None

    async def discard(self) -> None:
        self.saved.clear()
        self.discarded = True


def timed(pipeline: Pipeline, name: str = "source", count: int = RECORDS, seed: int = 1) -> Stream:
    chance = random.Random(seed)
    records = [
        {"n": n, "text": f"text {n % 7}", "at": f"2026-01-01T{n // 60:02}:{n % 60:02}:00Z"}
        for n in (max(0, n - chance.randrange(3)) for n in range(count))
    ]
    schema = {"n": "int", "text": "string", "at": "timestamp"}
    return pipeline.source(records=records, id=name, schema=schema, event_time="at", lateness="3m")


def windows(folder: Path) -> PipelineSpec:
    pipeline = Pipeline("windows")
    answers = timed(pipeline).filter("n % 5 <> 0").llm("{text}", concurrency=8)
    counted = answers.key_by("text").window(tumbling="1h").aggregate(aggs={"n": "count()", "total": "sum(n)"})
    counted.sink(f"jsonl:{folder / 'out.jsonl'}")
    answers.sink(f"jsonl:{folder / 'answers.jsonl'}", fields=["n", "answer"])
    return pipeline.build()


def ordered(folder: Path) -> PipelineSpec:
    pipeline = Pipeline("ordered")
    timed(pipeline).llm("{text}", concurrency=4, ordered=True).sink(f"jsonl:{folder / 'out.jsonl'}")
    return pipeline.build()


def two_sources(folder: Path) -> PipelineSpec:
    pipeline = Pipeline("union")
    left = timed(pipeline, "left", 200).llm("{text}", concurrency=3)
    right = timed(pipeline, "right", RECORDS, 2).embed("{text}", batch=16)
    both = pipeline.add("union", inputs=[left, right])
    both.key_by("text").window(tumbling="30m").aggregate(aggs={"n": "count()"}).sink(f"jsonl:{folder / 'out.jsonl'}")
    return pipeline.build()


def own_index(folder: Path) -> PipelineSpec:
    pipeline = Pipeline("index")
    embedded = timed(pipeline).embed("{text}", batch=32)
    embedded.index("kb")
    found = embedded.retrieve("kb", k=1)
    found.sink(f"jsonl:{folder / 'out.jsonl'}", fields=["n", "context"])
    return pipeline.build()


def own_lookup(folder: Path) -> PipelineSpec:
    pipeline = Pipeline("lookup")
    answers = timed(pipeline).llm("{text}", concurrency=8)
    table = answers.filter("n < 200").key_by("n").window(tumbling="1000h").aggregate(aggs={"seen": "count()"})
    pairs = pipeline.add("join", inputs=[answers, table], lookup=True, on=["n"])
    pairs.sink(f"jsonl:{folder / 'out.jsonl'}", fields=["n", "text", "seen"])
    return pipeline.build()


PIPELINES: list[Build] = [windows, ordered, two_sources, own_index, own_lookup]


def lines(folder: Path) -> dict[str, Counter[str]]:
    return {path.name: Counter(path.read_text().splitlines()) for path in sorted(folder.glob("*.jsonl"))}


async def pace(seconds: float) -> None:
    await asyncio.sleep(0)


def new_run(models: Any) -> LocalRunner:
    return LocalRunner(models, queue_batches=2, sleep=pace)


@pytest.mark.parametrize("build", PIPELINES, ids=lambda build: build.__name__)
@pytest.mark.parametrize("seed", range(3))
async def test_a_run_killed_at_any_moment_loses_and_repeats_nothing(
    build: Build, seed: int, models: Any, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    await asyncio.wait_for(new_run(models).run(build(whole)), 60)
    chance = random.Random(seed)
    store = BytesCheckpoints()
    spec = build(broken)
    for _ in range(8):
        running = asyncio.create_task(new_run(models).run(spec, checkpoints=store))
        await _until_saved(store, len(store.saved) + chance.randrange(3), running)
        for _ in range(chance.randrange(200)):
            await asyncio.sleep(0)
        if not running.done():
            # kill -9: no sink gets to tidy up what it has written.
            kept = _snapshot(broken)
            running.cancel()
            await asyncio.wait({running})
            await asyncio.to_thread(_put_back, broken, kept)
    await asyncio.wait_for(new_run(models).run(spec, checkpoints=store), 60)
    assert lines(broken) == lines(whole)
    assert not store.saved


async def _until_saved(store: BytesCheckpoints, count: int, running: asyncio.Task[Any]) -> None:
    await eventually(lambda: running.done() or len(store.saved) >= count)


def _all_files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def _snapshot(folder: Path) -> dict[Path, bytes]:
    while True:
        # Threads of the run go on meanwhile: a folder in which a file was renamed is looked at again.
        with suppress(FileNotFoundError):
            kept = {path: path.read_bytes() for path in _all_files(folder)}
            if list(kept) == _all_files(folder):
                return kept


def _put_back(folder: Path, kept: dict[Path, bytes]) -> None:
    for path in _all_files(folder):
        path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)


@pytest.mark.parametrize("build", PIPELINES, ids=lambda build: build.__name__)
async def test_it_goes_on_from_every_single_checkpoint(build: Build, models: Any, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    await asyncio.wait_for(new_run(models).run(build(whole)), 60)
    folder = tmp_path / "broken"
    spec = build(folder)
    first = BytesCheckpoints()
    files: list[dict[Path, bytes]] = []
    first.on_save = lambda _: files.append(_snapshot(folder))
    saved: list[bytes] = []
    discard = first.discard

    async def keep_them() -> None:
        saved.extend(first.saved)
        await discard()

    first.discard = keep_them  # type: ignore[method-assign]
    await asyncio.wait_for(new_run(models).run(spec, checkpoints=first), 60)
    assert len(saved) > 3
    chance = random.Random(5)
    picked = [*chance.sample(range(len(saved) - 1), min(4, len(saved) - 1)), len(saved) - 1]
    for number in picked:
        await asyncio.to_thread(_put_back, folder, files[number])
        store = BytesCheckpoints()
        store.saved = [saved[number]]
        await asyncio.wait_for(new_run(models).run(spec, checkpoints=store), 60)
        assert lines(folder) == lines(whole), number


async def test_a_slow_model_does_not_hold_up_a_checkpoint(models: Any, tmp_path: Path) -> None:
    gate = asyncio.Event()
    models.gates.update({f"text {n}": gate for n in range(7)})
    store = BytesCheckpoints()
    spec = ordered(tmp_path)
    running = asyncio.create_task(new_run(models).run(spec, checkpoints=store))
    # Not one answer has come, and every record waits somewhere; yet the checkpoint is there.
    await eventually(lambda: models.chats_now == 4 and len(store.saved) > 1)
    running.cancel()
    await asyncio.wait({running})
    latest = await store.latest()
    assert latest is not None
    waiting = sum(frame.height for frame in latest.nodes["llm"].inbox.frames.values())
    assert waiting > 4
    gate.set()
    await asyncio.wait_for(new_run(models).run(spec, checkpoints=store), 60)
    numbers = [json.loads(line)["n"] for line in (await asyncio.to_thread(_text, tmp_path / "out.jsonl")).splitlines()]
    assert len(numbers) == RECORDS


def _text(path: Path) -> str:
    return path.read_text()


async def test_checkpoints_go_on_when_every_source_has_ended(models: Any, tmp_path: Path) -> None:
    pipeline = Pipeline("tail")
    timed(pipeline, count=20).llm("{text}").sink(f"jsonl:{tmp_path / 'out.jsonl'}")
    spec = pipeline.build()
    gate = asyncio.Event()
    models.gates.update({f"text {n}": gate for n in range(7)})
    store = BytesCheckpoints()
    ends: list[bool] = []
    store.on_save = lambda checkpoint: ends.append(
        checkpoint.nodes["source"].is_finished and not checkpoint.nodes["llm"].is_finished
    )
    running = asyncio.create_task(new_run(models).run(spec, checkpoints=store))
    await eventually(lambda: any(ends))
    running.cancel()
    await asyncio.wait({running})
    gate.set()
    await asyncio.wait_for(new_run(models).run(spec, checkpoints=store), 60)
    assert len((await asyncio.to_thread(_text, tmp_path / "out.jsonl")).splitlines()) == 20


async def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(models: Any, tmp_path: Path) -> None:
    store = BytesCheckpoints()
    store.fail_next = 2
    await asyncio.wait_for(new_run(models).run(windows(tmp_path), checkpoints=store), 60)
    assert store.discarded


async def test_nothing_is_published_without_the_last_checkpoint(models: Any, tmp_path: Path) -> None:
    class Full(BytesCheckpoints):
        async def save(self, checkpoint: Checkpoint) -> None:
            if checkpoint.is_final and not self.discarded:
                raise OSError(28, "No space left on device")
            await super().save(checkpoint)

    store = Full()
    with pytest.raises(UnavailableError, match="nothing was published"):
        await asyncio.wait_for(new_run(models).run(windows(tmp_path), checkpoints=store), 60)
    assert not lines(tmp_path)
    store.discarded = True
    await asyncio.wait_for(new_run(models).run(windows(tmp_path), checkpoints=store), 60)
    assert set(lines(tmp_path)) == {"out.jsonl", "answers.jsonl"}


async def test_what_could_not_be_published_is_published_by_the_next_run(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sage_kernel.connectors.text_file_sink as sink

    publish, failures = sink.TextFileSink.publish, [1]

    async def failing(self: sink.TextFileSink) -> None:
        if "answers" in str(self._file.path) and failures:
            failures.pop()
            raise OSError(5, "Input/output error")
        await publish(self)

    monkeypatch.setattr(sink.TextFileSink, "publish", failing)
    store = BytesCheckpoints()
    spec = windows(tmp_path)
    with pytest.raises(NodeFailedError, match="Input/output"):
        await asyncio.wait_for(new_run(models).run(spec, checkpoints=store), 60)
    calls = len(models.chats)
    await asyncio.wait_for(new_run(models).run(spec, checkpoints=store), 60)
    assert len(models.chats) == calls
    assert set(lines(tmp_path)) == {"out.jsonl", "answers.jsonl"}


async def test_another_pipelines_checkpoint_is_refused(models: Any, tmp_path: Path) -> None:
    store = BytesCheckpoints()
    running = asyncio.create_task(new_run(models).run(windows(tmp_path), checkpoints=store))
    await eventually(lambda: bool(store.saved))
    running.cancel()
    await asyncio.wait({running})
    with pytest.raises(ConflictError, match="another pipeline"):
        await new_run(models).run(ordered(tmp_path), checkpoints=store)


async def test_a_paused_run_reads_nothing_and_goes_on_from_a_savepoint(models: Any, tmp_path: Path) -> None:
    pipeline = Pipeline("p")
    records = [{"n": n, "text": "x"} for n in range(8_000)]
    pipeline.source(records=records).llm("{text}", concurrency=64).sink("collection:out")
    spec = pipeline.build()
    store = BytesCheckpoints()
    executions: list[Execution] = []
    runner = new_run(models)
    running = asyncio.create_task(runner.run(spec, checkpoints=store, on_start=executions.append))
    await eventually(lambda: len(models.chats) > 200)
    execution = executions[0]
    execution.pause()
    await eventually(lambda: execution.counts["llm"].records_queued == 0 and models.chats_now == 0)
    sent = execution.counts["source"].records_out
    assert sent < len(records)
    for _ in range(50):
        await asyncio.sleep(0)
    assert execution.counts["source"].records_out == sent
    taken = await execution.savepoint()
    assert taken.nodes["source"].state.values["position"] == sent
    execution.resume()
    await eventually(lambda: execution.counts["source"].records_out > sent)
    stopped = await execution.stop_with_savepoint()
    first = await running
    assert first.is_stopped
    calls = len(models.chats)
    second = await asyncio.wait_for(new_run(models).run(spec, checkpoints=store), 120)
    assert not second.is_stopped
    assert [record["n"] for record in sorted(second.collections["out"], key=lambda r: r["n"])] == list(range(8_000))
    assert len(models.chats) - calls <= 8_000 - int(str(stopped.nodes["source"].state.values["position"])) + 64 + 1024
    with pytest.raises(ConflictError, match="has ended"):
        await execution.savepoint()
