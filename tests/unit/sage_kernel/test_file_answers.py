from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from sage_kernel import file_answers
from sage_kernel.file_answers import FileAnswers


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
        "from sage_kernel.file_answers import FileAnswers\n"
        "asyncio.run(FileAnswers(pathlib.Path(sys.argv[1])).put('k', b'text'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(path))
    assert await asyncio.wait_for(killed.wait(), 60) == -signal.SIGKILL
    store = FileAnswers(path)
    assert await store.get("k", None) == b"text"
    store.close()


async def test_a_full_file_lets_the_oldest_answers_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_answers, "MAX_BYTES", 40 * 4096)
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


async def test_answers_that_come_together_are_kept_in_few_transactions(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    store = FileAnswers(path)
    await store.put("first", b"x")
    other = sqlite3.connect(path)
    before = _data_version(other)
    await asyncio.gather(*(store.put(f"k{number}", b"x") for number in range(500)))
    store.close()
    assert other.execute("SELECT count(*) FROM answers").fetchone() == (501,)
    assert _data_version(other) > before
    frames = path.with_name("answers.sqlite-wal")
    # One transaction an answer writes at least one page each.
    assert not frames.exists() or frames.stat().st_size < 500 * 4096
    other.close()


def _data_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


async def test_one_who_no_longer_waits_keeps_no_other_from_being_told(tmp_path: Path) -> None:
    store = FileAnswers(tmp_path / "answers.sqlite")
    first, second = (asyncio.ensure_future(store.put(key, b"x")) for key in ("a", "b"))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert await store.get("b", None) == b"x"
    store.close()
