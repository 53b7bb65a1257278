"""C++ operators of SAGE, each with a reference in Python that gives the same values."""

from __future__ import annotations

from sage_native._native import (
    PackedRows,
    pairs_above,
    quantize,
    request_features,
    request_features_with,
    scan_variants,
    variants,
)

__all__ = [
    "PackedRows",
    "pairs_above",
    "quantize",
    "request_features",
    "request_features_with",
    "scan_variants",
    "variants",
]
