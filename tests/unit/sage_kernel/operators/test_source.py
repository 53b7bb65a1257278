from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sage_common.errors import NotFoundError, PermissionDeniedError, TooLargeError, UnprocessableError
from sage_kernel.builder import Pipeline
from sage_kernel.file_access import ANY_FILE, FileAccess
from sage_kernel.problems import NodeFailedError
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.runtime.progress import RunResult


async def read(models: Any, folder: Path, files: FileAccess = ANY_FILE, **options: Any) -> RunResult:
    pipeline = Pipeline("p")
    pipeline.source(f"folder:{folder}", **options).sink("collection:out")
    return await LocalRunner(models, files=files).run(pipeline.build())


async def test_documents_come_in_the_order_of_their_paths_and_the_rest_is_reported(models: Any, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    for path in ("b.md", "a/x.txt", "a/y.HTML", ".hidden.md", ".git/config", "node_modules/m.md", "env/pyvenv.cfg"):
        (docs / path).parent.mkdir(parents=True, exist_ok=True)
        (docs / path).write_text("# Title\n\nSome <b>text</b>.")
    (docs / "binary.txt").write_bytes(b"\0\1")
    (docs / "empty.md").write_bytes(b"")
    (docs / "large.md").write_text("x" * 101)
    (docs / "photo.jpg").write_bytes(b"x")
    os.mkfifo(docs / "pipe.md")
    (tmp_path / "secret.md").write_text("secret")
    (docs / "out.md").symlink_to(tmp_path / "secret.md")
    (docs / "loop").symlink_to(docs)
    (docs / "broken.md").symlink_to(docs / "nowhere.md")
    result = await read(models, docs, max_file_bytes=100)
    assert [record["path"] for record in result.collections["out"]] == ["a/x.txt", "a/y.HTML", "b.md"]
    assert result.collections["out"][2] == {
        "id": "b.md", "path": "b.md", "text": "# Title\n\nSome <b>text</b>.", "title": "Title", "bytes": 26,
        "first_line": 1,
    }  # fmt: skip
    reasons = {item: reason for _, item, reason in result.skipped}
    assert set(reasons) == {
        ".git/", ".hidden.md", "binary.txt", "broken.md", "empty.md", "env/", "large.md", "loop", "node_modules/",
        "out.md", "photo.jpg", "pipe.md",
    }  # fmt: skip
    assert reasons["out.md"] == "a link that leads out of the folder"
    assert reasons["pipe.md"] == "not a regular file"
    assert "101 bytes" in reasons["large.md"]
    assert "binary" in reasons["binary.txt"]


async def test_a_folder_without_documents_is_a_clear_error(models: Any, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(NodeFailedError, match=r"can be read \(1 entries left out, first photo\.jpg: ") as caught:
        await read(models, tmp_path)
    assert isinstance(caught.value.cause, UnprocessableError)


async def test_a_missing_folder_and_too_many_files_are_clear_errors(models: Any, tmp_path: Path) -> None:
    with pytest.raises(NodeFailedError, match="not there") as caught:
        await read(models, tmp_path / "none")
    assert isinstance(caught.value.cause, NotFoundError)
    for number in range(3):
        (tmp_path / f"{number}.md").write_text("x")
    with pytest.raises(NodeFailedError, match="more than 2") as caught:
        await read(models, tmp_path, max_files=2)
    assert isinstance(caught.value.cause, TooLargeError)


async def test_a_folder_outside_the_allowed_roots_is_refused_also_through_a_link(models: Any, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "a.md").write_text("text")
    (tmp_path / "b.md").write_text("text")
    (allowed / "up").symlink_to(tmp_path)
    files = FileAccess((allowed,), "dataflow_worker.allowed_roots")
    assert len((await read(models, allowed, files)).collections["out"]) == 1
    for folder in (tmp_path, allowed / "up", allowed / "..", Path("/")):
        with pytest.raises(NodeFailedError, match=r"add its folder to dataflow_worker\.allowed_roots") as caught:
            await read(models, folder, files)
        assert isinstance(caught.value.cause, PermissionDeniedError)
