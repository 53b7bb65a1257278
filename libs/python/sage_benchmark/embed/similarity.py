"""Vectors beside the reference's, and what people say of sentences (STS-B)."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class StsPairs:
    """Pairs of sentences with the similarity that people gave them, 0 to 5."""

    first: list[str]
    second: list[str]
    scores: npt.NDArray[np.float64]


def read_sts(path: Path, most: int = 0) -> StsPairs:
    """Read the test split of ``stsbenchmark.tsv.gz``; at most ``most`` pairs, 0 for all."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row["split"] == "test"]
    rows = rows[:most] if most else rows
    return StsPairs(
        [row["sentence1"] for row in rows],
        [row["sentence2"] for row in rows],
        np.array([float(row["score"]) for row in rows]),
    )


def cosines(a: Vectors, b: Vectors) -> npt.NDArray[np.float64]:
    """Cosine of each row of ``a`` with the same of ``b``."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products: npt.NDArray[np.float64] = np.einsum("ij,ij->i", a.astype(np.float64), b) / lengths
    return products


def spearman(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Spearman's rank correlation; equal values share the mean of their ranks."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: npt.NDArray[np.float64] = ((ends - counts + 1 + ends) / 2)[inverse]
    return ranks
