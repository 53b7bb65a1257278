"""Nexmark: an auction house as a stream of persons, auctions and bids, and its questions as pipelines.

After Tucker, Tufte, Papadimos and Maier, "NEXMark - A Benchmark for Queries over Data Streams" (2002), in the form that
Apache Beam and Flink run: of 50 events one is a person, three are auctions and 46 are bids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from sage_kernel.schema import TIMESTAMP

PERSONS, AUCTIONS, BIDS = "persons", "auctions", "bids"
LATENESS = "2s"
LONGEST_AUCTION = "20s"
STATES = ("OR", "ID", "CA", "AZ", "WA", "WY")
CATEGORIES = 10
_EPOCH = 50
_DISORDER_US = 2_000_000
_START_US = 1_767_225_600_000_000  # 2026-01-01
_LONGEST_US = 20_000_000


def tables(events: int, seed: int, events_per_second: int = 200) -> dict[str, pl.DataFrame]:
    """Return persons, auctions and bids, each up to ``LATENESS`` out of order."""
    random = np.random.default_rng(seed)
    number = np.arange(events, dtype=np.int64)
    times = _START_US + number * (1_000_000 // events_per_second)
    place = number % _EPOCH
    epochs = number // _EPOCH
    person, auction, bid = number[place == 0], number[(place > 0) & (place < 4)], number[place >= 4]
    # Who acts and what is bid on came up lately.
    sellers = np.maximum(0, epochs[auction] - random.integers(0, 20, len(auction)))
    bidders = np.maximum(0, epochs[bid] - random.integers(0, 20, len(bid)))
    newest = np.maximum(0, epochs[bid] * 3 - 1)
    wanted = np.maximum(0, newest - random.geometric(0.2, len(bid)))
    frames = {
        PERSONS: pl.DataFrame(
            {
                "ts": times[person],
                "id": epochs[person],
                "name": [f"person {one}" for one in epochs[person].tolist()],
                "state": [STATES[one] for one in random.integers(0, len(STATES), len(person)).tolist()],
            }
        ),
        AUCTIONS: pl.DataFrame(
            {
                "ts": times[auction],
                "id": np.arange(len(auction)),
                "seller": sellers,
                "category": random.integers(10, 10 + CATEGORIES, len(auction)),
                "expires": times[auction] + random.integers(1_000_000, _LONGEST_US, len(auction)),
            }
        ).with_columns(pl.col("expires").cast(TIMESTAMP)),
        BIDS: pl.DataFrame(
            {
                "ts": times[bid],
                "auction": wanted,
                "bidder": bidders,
                "price": random.integers(1, 10_000, len(bid)),
            }
        ),
    }
    return {name: _disordered(frame, random) for name, frame in frames.items()}


def _disordered(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
    moved = frame.get_column("ts").to_numpy() + random.integers(0, _DISORDER_US, frame.height)
    return frame[np.argsort(moved, kind="stable")].with_columns(pl.col("ts").cast(TIMESTAMP))


def queries(uris: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the nodes of each question by its name; the answers end in the collection ``out``.

    Args:
        uris: of the sources, by table.
    """

    def source(table: str) -> dict[str, Any]:
        return {table: {"op": "source", "uri": uris[table], "event_time": "ts", "lateness": LATENESS}}

    def sink(behind: str) -> dict[str, Any]:
        return {"out": {"op": "sink", "in": behind, "uri": "collection:out"}}

    persons, auctions, bids = source(PERSONS), source(AUCTIONS), source(BIDS)
    return {
        # All bids.
        "q0": {**bids, **sink(BIDS)},
        # Bids in euros.
        "q1": {
            **bids,
            "euros": {"op": "map", "in": BIDS, "fields": {"price": "price * 0.908"}},
            **sink("euros"),
        },
        # Bids on some auctions.
        "q2": {**bids, "some": {"op": "filter", "in": BIDS, "where": "auction % 123 = 0"}, **sink("some")},
        # Who sells in a category in some states.
        "q3": {
            **persons,
            **auctions,
            "near": {"op": "filter", "in": PERSONS, "where": "state IN ('OR', 'ID', 'CA')"},
            "wanted": {"op": "filter", "in": AUCTIONS, "where": "category = 10"},
            "sellers": {
                "op": "join", "in": ["wanted", "near"], "left_on": ["seller"], "right_on": ["id"], "lookup": True,
            },
            **sink("sellers"),
        },
        # The average price at which auctions of a category close.
        "q4": {
            **auctions,
            **bids,
            "offers": {
                "op": "join", "in": [AUCTIONS, BIDS], "left_on": ["id"], "right_on": ["auction"],
                "within": ["0s", LONGEST_AUCTION],
            },
            "valid": {"op": "filter", "in": "offers", "where": "ts_right <= expires"},
            "by_auction": {"op": "key_by", "in": "valid", "fields": ["id", "category"]},
            "closing": {"op": "aggregate", "in": "by_auction", "aggs": {"final": "max(price)"}},
            "by_category": {"op": "key_by", "in": "closing", "fields": ["category"]},
            "averages": {"op": "aggregate", "in": "by_category", "aggs": {"average": "mean(final)"}},
            **sink("averages"),
        },
        # The auctions with most bids in the last ten seconds, every two seconds.
        "q5": {
            **bids,
            "by_auction": {"op": "key_by", "in": BIDS, "fields": ["auction"]},
            "recent": {"op": "window", "in": "by_auction", "sliding": ["10s", "2s"]},
            "counts": {"op": "aggregate", "in": "recent", "aggs": {"n": "count()"}},
            "ends": {"op": "window", "in": "counts", "tumbling": "2s"},
            "most": {"op": "aggregate", "in": "ends", "aggs": {"n": "max(n)"}},
            "hottest": {"op": "join", "in": ["counts", "most"], "on": ["n"], "within": "0s"},
            **sink("hottest"),
        },
        # The highest bids of each ten seconds.
        "q7": {
            **bids,
            "tens": {"op": "window", "in": BIDS, "tumbling": "10s"},
            "highest": {"op": "aggregate", "in": "tens", "aggs": {"price": "max(price)"}},
            "winners": {"op": "join", "in": [BIDS, "highest"], "on": ["price"], "within": ["0s", "9999999us"]},
            **sink("winners"),
        },
        # Persons who open an auction within the ten seconds in which they came.
        "q8": {
            **persons,
            **auctions,
            "by_person": {"op": "key_by", "in": PERSONS, "fields": ["id", "name"]},
            "arrival": {"op": "window", "in": "by_person", "tumbling": "10s"},
            "came": {"op": "aggregate", "in": "arrival", "aggs": {"n": "count()"}},
            "by_seller": {"op": "key_by", "in": AUCTIONS, "fields": ["seller"]},
            "opening": {"op": "window", "in": "by_seller", "tumbling": "10s"},
            "opened": {"op": "aggregate", "in": "opening", "aggs": {"auctions": "count()"}},
            "new_sellers": {
                "op": "join", "in": ["came", "opened"], "left_on": ["id"], "right_on": ["seller"], "within": "0s",
            },
            **sink("new_sellers"),
        },
        # How many bids a bidder makes while active.
        "q11": {
            **bids,
            "by_bidder": {"op": "key_by", "in": BIDS, "fields": ["bidder"]},
            "active": {"op": "window", "in": "by_bidder", "session": "1s"},
            "made": {"op": "aggregate", "in": "active", "aggs": {"n": "count()"}},
            **sink("made"),
        },
    }  # fmt: skip
