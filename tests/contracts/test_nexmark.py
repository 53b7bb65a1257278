"""Nexmark's questions as pipelines give what DuckDB answers over the whole input."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fixtures.duck import rows

from sage_benchmark.dataflow.events import write_parquet
from sage_benchmark.dataflow.nexmark import queries, tables
from sage_benchmark.dataflow.timed_pipeline import NO_MODELS
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.validation import from_dict

# The fields of the answer and DuckDB's query for it; times count microseconds, windows are there by their end.
ANSWERS = {
    "q0": (["ts", "auction", "bidder", "price"], "select ts, auction, bidder, price from bids"),
    "q1": (["ts", "auction", "price"], "select ts, auction, price * 0.908::double from bids"),
    "q2": (["auction", "price"], "select auction, price from bids where auction % 123 = 0"),
    "q3": (
        ["id", "name", "state"],
        """select a.id, p.name, p.state from auctions a join persons p on a.seller = p.id
           where a.category = 10 and p.state in ('OR', 'ID', 'CA')""",
    ),
    "q4": (
        ["category", "average"],
        """select category, avg(final) from (
               select a.id, a.category, max(b.price) as final from auctions a join bids b on a.id = b.auction
               where b.ts between a.ts and a.expires group by all) group by category""",
    ),
    "q5": (
        ["auction", "n", "window"],
        """with counts as (
               select auction, count(*) as n, e from (
                   select auction, unnest(range(ts // 2000000 * 2000000 + 2000000,
                       ts // 2000000 * 2000000 + 12000000, 2000000)) as e from bids) group by auction, e)
           select auction, n, e from counts where n = (select max(n) from counts c where c.e = counts.e)""",
    ),
    "q7": (
        ["ts", "bidder", "price"],
        """select ts, bidder, price from bids b where price = (
               select max(price) from bids o where o.ts // 10000000 = b.ts // 10000000)""",
    ),
    "q8": (
        ["id", "name", "window"],
        """select distinct p.id, p.name, p.ts // 10000000 * 10000000 + 10000000 from persons p
           join auctions a on p.id = a.seller and p.ts // 10000000 = a.ts // 10000000""",
    ),
    "q11": (
        ["bidder", "n", "window"],
        """with marked as (select *, coalesce(ts - lag(ts) over w > 1000000, true)::int as begins from bids
               window w as (partition by bidder order by ts)),
           numbered as (select *, sum(begins) over (partition by bidder order by ts) as session from marked)
           select bidder, count(*), max(ts) + 1000000 from numbered group by bidder, session""",
    ),
}


@pytest.fixture(scope="module")
def auction_house() -> dict[str, pl.DataFrame]:
    return tables(20_000, seed=5)


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_pipeline_answers_as_duckdb_does(
    name: str, auction_house: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    uris = {table: write_parquet(tmp_path, table, frame) for table, frame in auction_house.items()}
    nodes = queries(uris)[name]
    spec = from_dict({"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": name}, "nodes": nodes})
    result = await asyncio.wait_for(LocalRunner(NO_MODELS).run(spec), 60)
    fields, query = ANSWERS[name]
    ours = pl.DataFrame(result.collections["out"], infer_schema_length=None)
    if "window" in ours.columns:
        ours = ours.with_columns(pl.col("window").struct.field("end").alias("window"))
    times = [column for column, dtype in ours.schema.items() if isinstance(dtype, pl.Datetime)]
    physical = {table: frame.with_columns(pl.col(pl.Datetime).to_physical()) for table, frame in auction_house.items()}
    theirs = rows(query, **physical)
    got = sorted(ours.with_columns(pl.col(times).dt.epoch("us")).select(fields).rows(), key=repr)
    assert theirs, "the question has an answer"
    assert rounded(got) == rounded(theirs)
    assert all(counts.records_late == 0 for counts in result.counts.values())


def rounded(table: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the rows without the last digits of their floats, which depend on the order of additions."""
    return sorted((tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in table), key=repr)
