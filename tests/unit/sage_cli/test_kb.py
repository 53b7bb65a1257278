"""``sage kb`` without a mesh: what it makes, shows and refuses."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sage_cli.app import app
from sage_common.errors import InvalidRequestError, NotFoundError
from sage_middleware.knowledge.ingest import ingest
from sage_middleware.knowledge.library import Library
from tests.fixtures.word_models import WordModels


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    if isinstance(result.exception, Exception):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def _filled(tmp_path: Path, name: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "sky.md").write_text("# Sky\n\nThe sky is blue.\n\n## Night\n\nAt midnight it is black.\n")
    with Library().open(name) as collection:
        asyncio.run(ingest(collection, docs, WordModels()))


def test_a_knowledge_base_is_made_listed_exported_and_dropped(tmp_path: Path) -> None:
    _run("kb", "create", "weather")
    _filled(tmp_path, "weather")
    (listed,) = json.loads(_run("kb", "list", "--json"))
    assert (listed["name"], listed["documents"], listed["passages"]) == ("weather", 1, 2)
    assert "sky.md" in _run("kb", "list", "weather")
    lines = [json.loads(line) for line in _run("kb", "export", "weather", "--vectors").splitlines()]
    assert [(line["heading"], len(line["vector"])) for line in lines] == [("Sky", 9), ("Sky > Night", 9)]
    _run("kb", "drop", "weather", "--yes")
    assert json.loads(_run("kb", "list", "--json")) == []


def test_what_an_index_finds_is_listed_and_it_is_made_by_hand(tmp_path: Path) -> None:
    pytest.importorskip("usearch.index")
    _run("kb", "create", "weather", "--index-above", "1")
    _filled(tmp_path, "weather")
    (listed,) = json.loads(_run("kb", "list", "--json"))
    assert (listed["approximate"], listed["recall"], listed["indexed"], listed["index_note"]) == (True, 1.0, 2, "")
    assert "index, recall 1.00" in _run("kb", "list")
    assert "2 vectors in the index; recall@10 1.00" in _run("kb", "index", "weather")
    assert "it has 2 passages, an index is made above 5" in _run("kb", "index", "weather", "--above", "5")
    (listed,) = json.loads(_run("kb", "list", "--json"))
    assert (listed["approximate"], listed["recall"]) == (False, None)


def test_what_is_not_there_or_cannot_be_meant_is_refused() -> None:
    with pytest.raises(NotFoundError, match="sage kb create weather"):
        _run("kb", "search", "weather", "sky")
    with pytest.raises(InvalidRequestError, match="did you mean 'words'"):
        _run("kb", "search", "weather", "sky", "--mode", "word")
    with pytest.raises(InvalidRequestError, match="either --docs FOLDER or --kb NAME"):
        _run("ask", "why?")
