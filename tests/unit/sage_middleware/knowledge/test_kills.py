"""An ingest that is killed at any moment leaves whole documents, and the next one goes on."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.consistency import problems_of
from sage_middleware.knowledge.ingest import ingest
from tests.fixtures.word_models import WordModels

KILLS = 20
ROOT = Path(__file__).parents[4]
_FILES = 400
_SECTIONS = 8


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_twenty_kills_in_ingest_leave_complete_documents(tmp_path: Path) -> None:
    docs = _documents(tmp_path / "docs")
    file = tmp_path / "c.kb"
    Collection.create(file).close()
    rng = random.Random(20)
    stored_before = kills = 0
    for number in range(KILLS):
        kills += _was_killed(file, docs, rng.random() * 0.25)
        with Collection(file) as collection:
            assert problems_of(collection) == []
            documents = collection.documents()
            assert {one.chunks for one in documents} <= {_SECTIONS}
            # What was committed before is still there.
            assert len(documents) >= stored_before
            stored_before = len(documents)
        if stored_before == _FILES:
            # Everything changes, so that there is something to interrupt again.
            _documents(docs, number + 1)
    assert kills >= KILLS // 2
    with Collection(file) as collection:
        await ingest(collection, docs, WordModels())
        assert collection.counts() == (_FILES, _FILES * _SECTIONS)
        assert problems_of(collection) == []


def _was_killed(file: Path, docs: Path, seconds: float) -> bool:
    """Ingest, and kill it after ``seconds``; return whether it was at work still."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fixtures.ingest_process", str(file), str(docs)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert process.stdout.readline().startswith("stored")
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    return process.returncode == -signal.SIGKILL


def _documents(folder: Path, version: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(_FILES):
        sections = (f"## Part {part}\n\nThe sky {number} {part} {version} is blue.\n" for part in range(_SECTIONS))
        (folder / f"{number:03}.md").write_text(f"# Document {number}\n\n" + "\n".join(sections))
    return folder
