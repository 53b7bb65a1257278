"""Tables at every width: no line is too long, and no word is broken."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from sage_cli.fitted_tables import Column, print_rows
from sage_cli.mesh.tables import mesh_tables
from sage_cli.mesh.view import EngineView, MeshView, ProcessView

PORTS = {"http": 48888, "grpc": 45050, "metrics": 49100}
NAMES = ("gateway", "classifier", "scheduler", "llm-coordinator", "embed-executor", "dataflow-worker")
VIEW = MeshView(
    "ready",
    gateway_url="http://127.0.0.1:8888",
    processes=tuple(
        ProcessView(name, name, "ready", "127.0.0.1", 123456, PORTS, True, 92_000_000, 5.0) for name in NAMES
    ),
    engines=(
        EngineView(
            "e-1", "openai", "ready", "main", "c", ("m",), ("llm_chat", "llm_generate"), 2, 64, 0, name="some-model"
        ),
        EngineView("e-2", "x", "ready", "main", "c", ("all-MiniLM-L6-v2",), ("embedding", "rerank"), 2, 512, 0),
    ),
)
COLUMNS = (Column("name"), Column("words", wrap=True), Column("number", right=True, drop=1), Column("more", drop=2))
WORD = st.text(st.characters(categories=("Ll", "Nd")), min_size=1, max_size=14)
ROW = st.tuples(WORD, st.lists(WORD, max_size=8).map(" ".join), WORD, WORD)


def printed(width: int, show: object) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(console)  # type: ignore[operator]
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("width", range(60, 101, 5))
def test_status_fits_its_terminal_and_breaks_no_word(width: int) -> None:
    text = printed(width, lambda console: console.print(mesh_tables(VIEW, width)))
    assert max(len(line) for line in text.splitlines()) <= width
    words = set(text.split())
    assert {*NAMES, "http:48888", "grpc:45050", "metrics:49100", "all-MiniLM-L6-v2", "some-model"} <= words
    assert "…" not in text


def test_a_hundred_columns_hold_every_column_of_the_engines() -> None:
    backend = {"backend": "openvino 2026.4.0 bf16"}
    engines = [
        replace(engine, capacity_source=source, labels=labels)
        for engine, source, labels in zip(VIEW.engines, ("told", "configured"), ({}, backend), strict=True)
    ]
    text = printed(100, lambda console: console.print(mesh_tables(replace(VIEW, engines=tuple(engines)), 100)))
    assert max(len(line) for line in text.splitlines()) <= 100
    headers = next(line for line in text.splitlines() if line.startswith("engine"))
    assert headers.split() == ["engine", "state", "models", "work", "busy", "capacity", "runs", "on"]
    assert {"configured", "told", "openvino", "2026.4.0", "bf16", "rerank"} <= set(text.split())


@given(st.lists(ROW, min_size=1, max_size=5), st.integers(40, 120))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_rows_fit_and_keep_their_words(rows: list[tuple[str, str, str, str]], width: int) -> None:
    text = printed(width, lambda console: print_rows(console, COLUMNS, rows))
    assert max(len(line) for line in text.splitlines()) <= width
    assert {word for row in rows for word in (row[0], *row[1].split())} <= set(text.split())


def test_what_no_table_can_hold_becomes_a_list() -> None:
    text = printed(60, lambda console: print_rows(console, COLUMNS, [("n" * 58, "several words", "1", "x")]))
    assert [line.split()[0] for line in text.splitlines()] == ["name", "words", "number", "more"]
