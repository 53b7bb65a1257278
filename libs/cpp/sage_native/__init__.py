"""C++ operators of SAGE, each with a reference in Python that gives the same values."""

from __future__ import annotations

from sage_native._native import request_features, request_features_with, variants

__all__ = ["request_features", "request_features_with", "variants"]
