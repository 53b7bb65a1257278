from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from fixtures.eventually import eventually

from sage_kernel import answer_store
from sage_kernel.answer_store import FileAnswers, SharedCalls, answer_key


async def test_an_answer_is_found_until_it_is_too_old(tmp_path: Path) -> None:
    now = 1000.0
    store = FileAnswers(tmp_path / "answers.sqlite", lambda: now)
    await store.put("k", b"text")
    assert await store.get("k", None) == b"text"
    now = 1060.0
    assert await store.get("k", 60) == b"text"
    now = 1061.0
    assert await store.get("k", 60) is None
    assert await store.get("other", None) is None
    store.close()


async def test_an_answer_outlives_the_process_that_kept_it(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    program = (
        "import asyncio, os, pathlib, signal, sys\n"
        "from sage_kernel.answer_store import FileAnswers\n"
        "asyncio.run(FileAnswers(pathlib.Path(sys.argv[1])).put('k', b'text'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(path))
    assert await asyncio.wait_for(killed.wait(), 60) == -signal.SIGKILL
    store = FileAnswers(path)
    assert await store.get("k", None) == b"text"
    store.close()


async def test_a_full_file_lets_the_oldest_answers_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_store, "MAX_BYTES", 40 * 4096)
    seconds = iter(range(10_000))
    store = FileAnswers(tmp_path / "answers.sqlite", lambda: float(next(seconds)))
    for number in range(200):
        await store.put(f"k{number}", b"x" * 1000)
    assert await store.get("k199", None) is not None
    assert await store.get("k0", None) is None
    store.close()


async def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE answers (something TEXT)")
    other.close()
    store = FileAnswers(path)
    with pytest.raises(OSError, match=r"answers\.sqlite"):
        await store.put("k", b"x")
    store.close()


def test_a_key_tells_scope_model_and_parameters_apart() -> None:
    keys = {
        answer_key(scope, model, parameters)
        for scope in ("", "run")
        for model in (None, "a")
        for parameters in ({"t": 1}, {"t": 2})
    }
    assert len(keys) == 8
    assert answer_key("", "m", {"a": 1, "b": 2}) == answer_key("", "m", {"b": 2, "a": 1})


async def test_equal_calls_under_way_are_one() -> None:
    calls = SharedCalls()
    gate = asyncio.Event()
    made = 0

    async def call() -> bytes:
        nonlocal made
        made += 1
        await gate.wait()
        return b"answer"

    first, second = (asyncio.create_task(calls.once("k", call)) for _ in range(2))
    await eventually(lambda: made == 1)
    first.cancel()
    gate.set()
    assert await second == b"answer"
    assert made == 1
    assert await calls.once("k", call) == b"answer"
    assert made == 2
