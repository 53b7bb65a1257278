"""Every source of files gives the same records from any position as in one pass, and refuses single records."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage_kernel.connectors import parquet_source, text_file_source
from sage_kernel.connectors.parquet_source import ParquetSource
from sage_kernel.connectors.source_options import SourceOptions
from sage_kernel.connectors.text_file_source import TextFileSource
from sage_kernel.connectors.text_formats import Csv, JsonLines
from sage_kernel.file_access import ANY_FILE
from sage_kernel.operator import Position, Refused, Source, SourceBatch
from sage_kernel.problems import PositionGoneError
from sage_kernel.schema import parse_schema

OPTIONS = SourceOptions(parse_schema({"n": "int", "text": "string"}), max_record_bytes=4096)
Rows = Sequence[tuple[int, str]]


def write_jsonl(path: Path, rows: Rows) -> None:
    path.write_bytes(b"".join(json.dumps({"n": n, "text": text}).encode() + b"\n" for n, text in rows))


def write_csv(path: Path, rows: Rows) -> None:
    pl.DataFrame(rows, schema=OPTIONS.schema, orient="row").write_csv(path, quote_style="non_numeric")


def write_parquet(path: Path, rows: Rows) -> None:
    pl.DataFrame(rows, schema=OPTIONS.schema, orient="row").write_parquet(path, row_group_size=7)


def text_source(text_format: Any) -> Callable[[Path], Source]:
    return lambda path: TextFileSource(str(path), text_format, OPTIONS, ANY_FILE)


KINDS: dict[str, tuple[Callable[[Path, Rows], None], Callable[[Path], Source]]] = {
    "jsonl": (write_jsonl, text_source(JsonLines())),
    "csv": (write_csv, text_source(Csv())),
    "parquet": (write_parquet, lambda path: ParquetSource(str(path), OPTIONS, ANY_FILE)),
}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_BLOCK_BYTES", "_LEAST_BLOCK_BYTES", "_MOST_BLOCK_BYTES"):
        monkeypatch.setattr(text_file_source, name, 64)
    monkeypatch.setattr(text_file_source, "SPLIT_BYTES", 300)
    monkeypatch.setattr(parquet_source, "_FIRST_BATCH_RECORDS", 3)
    monkeypatch.setattr(parquet_source, "MAX_BATCH_RECORDS", 5)
    monkeypatch.setattr(parquet_source, "SPLIT_RECORDS", 11)


async def read_split(source: Source, split: Any, position: Position = None) -> list[SourceBatch]:
    return [batch async for batch in source.batches(split, position)]


def rows_of(batches: Sequence[SourceBatch]) -> list[tuple[int, str]]:
    return [row for batch in batches for row in batch.frame.rows()]


def refusals(batches: Sequence[SourceBatch]) -> list[Refused]:
    return [refused for batch in batches for refused in batch.refused]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=200)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), texts), min_size=1, max_size=60))
def test_any_position_goes_on_as_one_pass_does(kind: str, rows: Rows, tmp_path_factory: Any) -> None:
    async def check() -> None:
        write, make = KINDS[kind]
        path = tmp_path_factory.mktemp("files") / f"a.{kind}"
        write(path, rows)
        source = make(path)
        splits = await source.splits()
        whole: list[tuple[int, str]] = []
        for split in splits:
            batches = await read_split(source, split)
            assert refusals(batches) == []
            whole += rows_of(batches)
            for at, batch in enumerate(batches):
                position = json.loads(json.dumps(batch.position))
                assert rows_of(await read_split(make(path), split, position)) == rows_of(batches[at + 1 :])
        assert whole == list(rows)

    asyncio.run(check())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_that_was_replaced_or_cut_is_an_error_with_a_remedy(kind: str, tmp_path: Path) -> None:
    write, make = KINDS[kind]
    path = tmp_path / "a"
    write(path, [(n, f"text {n}") for n in range(50)])
    source = make(path)
    split = (await source.splits())[0]
    position = (await read_split(source, split))[1].position
    write(path, [(-n, f"other {n}") for n in range(60)])
    with pytest.raises(PositionGoneError, match=r"replaced; put the file back, or start again"):
        await read_split(source, split, position)
    write(path, [])
    with pytest.raises(PositionGoneError, match="replaced"):
        await read_split(source, split, position)


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
async def test_a_bad_record_is_refused_with_its_line_and_takes_no_other_along(kind: str, tmp_path: Path) -> None:
    lines = {
        "jsonl": ['{"n": 1, "text": "a"}', '{"n": "x"}', "", "nonsense", '{"n": 2, "text": "b"}'],
        "csv": ["n,text", '1,"a\na"', "x,", "", "1,2,3", "2,b"],
    }[kind]
    path = tmp_path / "a.txt"
    path.write_text("\n".join(lines))
    source = KINDS[kind][1](path)
    batches = [batch for split in await source.splits() for batch in await read_split(source, split)]
    assert [n for n, _ in rows_of(batches)] == [1, 2]
    places = [refused.frame["place"][0] for refused in refusals(batches)]
    assert places == {"jsonl": ["a.txt:2", "a.txt:4"], "csv": ["a.txt:4", "a.txt:6"]}[kind]
    assert all(refused.error.message.startswith("a.txt:") for refused in refusals(batches))


@pytest.mark.parametrize("length", [5_000, 3_000_000])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
async def test_a_record_that_is_too_long_is_refused_and_passed_over(kind: str, length: int, tmp_path: Path) -> None:
    write, make = KINDS[kind]
    path = tmp_path / "a"
    write(path, [(1, "a"), (2, "x" * length), (3, "c")])
    source = make(path)
    batches = [batch for split in await source.splits() for batch in await read_split(source, split)]
    assert rows_of(batches) == [(1, "a"), (3, "c")]
    (refused,) = refusals(batches)
    assert "raise 'max_record_bytes'" in refused.error.message
    assert len(refused.frame["raw"][0]) <= 64 * 1024


async def test_a_quote_without_its_partner_takes_one_row_along(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('n,text\n1,a\n2,"b\n' + "".join(f"{n},c\n" for n in range(3, 2000)))
    source = KINDS["csv"][1](path)
    batches = [batch for split in await source.splits() for batch in await read_split(source, split)]
    assert [n for n, _ in rows_of(batches)] == [1, *range(3, 2000)]
    assert [refused.frame["place"][0] for refused in refusals(batches)] == ["a.csv:3"]


READ_ALL = """
import asyncio, sys
from sage_kernel.connectors.source_options import SourceOptions
from sage_kernel.connectors.text_file_source import TextFileSource
from sage_kernel.connectors.text_formats import JsonLines
from sage_kernel.file_access import ANY_FILE
from sage_kernel.schema import parse_schema

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 // 2**20

async def read(path):
    source = TextFileSource(path, JsonLines(), SourceOptions(parse_schema({"n": "int", "text": "string"})), ANY_FILE)
    early, count, refused, number = 0, 0, 0, 0
    for split in await source.splits():
        async for batch in source.batches(split, None):
            count, refused, number = count + batch.frame.height, refused + len(batch.refused), number + 1
            early = resident_mb() if number == 20 else early
    print(count, refused, early, resident_mb())

asyncio.run(read(sys.argv[1]))
"""


def read_in_child(path: Path) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(path)], capture_output=True, text=True, timeout=600, check=True
    )
    return [int(word) for word in done.stdout.split()]


def test_a_line_of_a_hundred_megabytes_takes_no_such_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"n": 1}\n{"text": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"n": 2}\n')
    count, refused, _, at_end = read_in_child(path)
    assert (count, refused) == (2, 1)
    assert at_end < 250


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_memory_stays_flat_over_a_gigabyte(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = b"".join(b'{"n": %d, "text": "some text of record %d"}\n' % (n, n) for n in range(200_000))
    repeats = 1_000_000_000 // len(lines)
    with path.open("wb") as file:
        for _ in range(repeats):
            file.write(lines)
    count, refused, early, at_end = read_in_child(path)
    assert (count, refused) == (repeats * 200_000, 0)
    assert at_end < early + 64
