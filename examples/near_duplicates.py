"""Near-duplicates among headlines as they come in: pairs of the last ten minutes whose vectors are close.

python examples/near_duplicates.py

Needs a running mesh (`sage up`), for the vectors. Records that may be alike are brought together by the signs of
random projections of their vectors (locality-sensitive hashing; Charikar 2002). Two vectors fall into the same bucket
of one of 8 tables of 6 bits with a probability of 0.99 at an angle of 20 degrees, and of 0.90 at 37, a cosine of 0.8.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np

import sage

TABLES, BITS, DIMENSIONS = 8, 6, 384
LEAST_SIMILARITY = 0.8
PLANES = np.random.default_rng(7).standard_normal((TABLES, BITS, DIMENSIONS)).astype(np.float32)
HEADLINES = (
    "Storm closes the harbour for two days",
    "Council votes for a new bridge over the river",
    "Harbour closed for two days by the storm",
    "Local team wins the cup after extra time",
    "New bridge over the river gets the council's vote",
    "Bakery of the old town reopens",
    "The cup goes to the local team after extra time",
    "Museum shows paintings nobody has seen for a century",
)


def buckets(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the bucket of a record in each table."""
    signs = (PLANES @ np.asarray(record["vector"], dtype=np.float32)) > 0
    return [{"bucket": f"{table}:{''.join(str(int(bit)) for bit in bits)}"} for table, bits in enumerate(signs)]


def compared(record: dict[str, Any]) -> dict[str, Any]:
    """Return a pair with the cosine of its vectors."""
    left, right = (np.asarray(record[name], dtype=np.float32) for name in ("vector", "vector_right"))
    cosine = float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))
    return {"first": record["text_right"], "second": record["text"], "at": record["at"], "similarity": cosine}


def main() -> None:
    """Print the pairs."""
    start = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
    records = [
        {"id": number, "at": (start + timedelta(minutes=number)).isoformat(), "text": text}
        for number, text in enumerate(HEADLINES)
    ]
    pair = {"first": "string", "second": "string", "at": "timestamp", "similarity": "float"}
    pipeline = sage.Pipeline("near-duplicates")
    headlines = pipeline.source(
        records=records, schema={"id": "int", "at": "timestamp", "text": "string"}, event_time="at", id="headlines"
    )
    embedded = headlines.embed("{text}", model="minilm")
    hashed = embedded.flat_map(buckets, out={"bucket": "string"}, keep=True, id="hashed")
    earlier = hashed.filter("id >= 0", id="earlier")
    pairs = pipeline.add("join", inputs=[hashed, earlier], on=["bucket"], within=["-10m", "0s"], id="pairs")
    alike = pairs.filter("id_right < id", id="ordered").map(compared, out=pair, id="compared")
    found = alike.filter(f"similarity >= {LEAST_SIMILARITY}", id="alike")
    # A pair is found once for each table in which it meets.
    once = found.key_by(["first", "second"]).aggregate(similarity="max(similarity)", id="once")
    once.sink("collection:duplicates")
    for record in pipeline.run("local").collections["duplicates"]:
        sys.stdout.write(f"{record['similarity']:.2f}  {record['first']}  =  {record['second']}\n")


if __name__ == "__main__":
    main()
