"""Products in a Parquet file, each given a category and a colour by a model, written to another Parquet file:

python examples/enrich_products.py

Needs a running mesh (`sage up`). Answers are kept for a day: a second run asks nothing.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import polars as pl

import sage

PRODUCTS = (
    "A red woollen scarf for cold days",
    "Oak table for six, with two drawers",
    "Blue rain jacket with a hood",
    "Green desk lamp with a long arm",
    "White cotton shirt, ironed",
)


def main(folder: Path) -> None:
    """Write the products, run the pipeline, print what it made of them."""
    products, enriched = folder / "products.parquet", folder / "enriched.parquet"
    pl.DataFrame({"id": range(len(PRODUCTS)), "text": PRODUCTS}).write_parquet(products)
    pipeline = sage.Pipeline("enrich-products")
    pipeline.source(f"parquet:{products}").llm(
        "Product: {text}",
        system="You sort the products of a shop.",
        out={"category": "clothing|furniture|lighting", "colour": "string"},
        model="smollm2-135m",
        max_tokens=40,
        temperature=0,
        concurrency=4,
        cache="1d",
        on_error="dlq",
    ).sink(f"parquet:{enriched}")
    result = pipeline.run("local")
    with pl.Config(tbl_hide_dataframe_shape=True, fmt_str_lengths=40):
        sys.stdout.write(f"{pl.read_parquet(enriched)}\n")
    sys.stdout.write(f"{result.seconds:.1f} s, {len(result.dead_letters)} products were not understood\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
