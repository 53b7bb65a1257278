"""Near-duplicates among headlines as they come in: pairs of the last ten minutes whose vectors are close.

python examples/near_duplicates.py

Needs a running mesh (`sage up`), for the vectors.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone

import sage

LEAST_SIMILARITY = 0.8
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


def main() -> None:
    """Print the pairs."""
    start = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
    records = [
        {"id": number, "at": (start + timedelta(minutes=number)).isoformat(), "text": text}
        for number, text in enumerate(HEADLINES)
    ]
    pipeline = sage.Pipeline("near-duplicates")
    headlines = pipeline.source(
        records=records, schema={"id": "int", "at": "timestamp", "text": "string"}, event_time="at", id="headlines"
    )
    embedded = headlines.embed("{text}", model="minilm")
    # The stream with itself: each headline with those up to ten minutes before it.
    earlier = embedded.filter("id >= 0", id="earlier")
    pairs = pipeline.add(
        "window_join", inputs=[embedded, earlier], within=["-10m", "0s"], threshold=LEAST_SIMILARITY, id="pairs"
    )
    pairs.filter("id_right < id", id="duplicates").sink("collection:duplicates")
    for record in pipeline.run("local").collections["duplicates"]:
        sys.stdout.write(f"{record['similarity']:.2f}  {record['text_right']}  =  {record['text']}\n")


if __name__ == "__main__":
    main()
