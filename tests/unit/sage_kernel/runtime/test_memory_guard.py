"""What would fill the memory is an error with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from sage_kernel.event_time import interval_join
from sage_kernel.expressions import parse
from sage_kernel.operators import map as map_operator
from sage_kernel.problems import NodeFailedError
from sage_kernel.runtime import memory_guard
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.runtime.memory_guard import guard_of_process
from sage_kernel.runtime.progress import RunResult
from sage_kernel.sql_text import ExpressionError
from sage_kernel.validation import from_dict

MIB = 1024 * 1024


async def run(**nodes: Any) -> RunResult:
    value = {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes}
    return await LocalRunner(None).run(from_dict(value))  # type: ignore[arg-type]


def source(count: int, **record: Any) -> dict[str, Any]:
    return {"op": "source", "records": [{"n": number, **record} for number in range(count)]}


@pytest.fixture
def full_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that holds more than it may, at a limit of a mebibyte."""
    monkeypatch.setattr(memory_guard, "default_limit", lambda: MIB)


@pytest.mark.usefixtures("full_memory")
@pytest.mark.parametrize("function", ["list(t)", "n_unique(t)"])
async def test_a_state_that_fills_the_memory_fails_its_node_and_costs_no_record(function: str) -> None:
    records = [{"n": number, "t": f"{number:0500}"} for number in range(20_000)]
    # What a source holds in a batch is not looked at before the first one has been taken.
    nodes = {
        "s": {"op": "source", "records": records},
        "a": {"op": "aggregate", "in": "s", "aggs": {"all": function}, "on_error": "dlq"},
        "o": {"op": "sink", "in": "a", "uri": "collection:o"},
    }
    with pytest.raises(NodeFailedError, match=r"node 'a' \(aggregate\) failed: its state holds \d+ MiB of the"):
        await run(**nodes)


@pytest.mark.usefixtures("full_memory")
async def test_a_node_whose_state_is_small_goes_on() -> None:
    nodes = {
        "s": source(1000),
        "a": {"op": "aggregate", "in": "s", "aggs": {"n": "count()"}},
        "o": {"op": "sink", "in": "a", "uri": "collection:o"},
    }
    assert (await run(**nodes)).collections["o"] == [{"n": 1000}]


async def test_a_key_that_pairs_with_everything_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interval_join, "MAX_PAIR_BYTES", MIB)
    timed = {**source(1000, ts="2024-01-01T00:00:00Z", k=1), "schema": {"n": "int", "ts": "timestamp", "k": "int"}}
    nodes = {
        "left": {**timed, "event_time": "ts"},
        "right": {**timed, "event_time": "ts"},
        "j": {"op": "join", "in": ["left", "right"], "on": ["k"], "within": "1m"},
        "o": {"op": "sink", "in": "j", "uri": "collection:o"},
    }
    with pytest.raises(NodeFailedError, match="too many records of one key are near in time; narrow 'within'"):
        await run(**nodes)


async def test_a_field_that_grows_without_end_costs_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_operator, "MOST_BYTES", MIB)
    grown = {f"m{level}": {"op": "map", "in": f"m{level - 1}", "fields": {"t": "t || t"}} for level in range(1, 14)}
    last = {"m14": {"op": "map", "in": "m13", "fields": {"t": "t || t"}, "on_error": "dlq"}}
    nodes = {"m0": {"op": "source", "records": [{"t": "x" * 100}, {"t": "y"}]}, **grown, **last}
    result = await run(**nodes, o={"op": "sink", "in": "m14", "uri": "collection:o"})
    assert [record["t"][0] for record in result.collections["o"]] == ["y"]
    assert "over the limit of 1048576" in result.dead_letters[0].error


@pytest.mark.parametrize("sql", ["REPLACE(t, '', t)", "replace(t, 'a', UPPER(t))", "REPLACE(t, 'a', 'b' || t)"])
def test_a_replacement_comes_from_no_field(sql: str) -> None:
    with pytest.raises(ExpressionError, match="takes what it puts in from a field; write that as a text"):
        parse(sql)


@pytest.mark.parametrize("sql", ["REPLACE(t, 'a', 'b')", "REPLACE(REPLACE(t, ',', ''), u, '(x)')"])
def test_a_replacement_of_text_is_allowed(sql: str) -> None:
    assert parse(sql)


def test_the_limit_of_a_process_is_what_is_set() -> None:
    assert memory_guard.resident_bytes() > MIB
    assert guard_of_process(512)._limit == 512 * MIB
    assert guard_of_process()._limit == memory_guard.default_limit() > 100 * MIB
