"""The C++ scan over int8 vectors, where ``sage-native`` is installed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from functools import cache
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from sage_libs.quantization import Floats, Int8s

Ints = npt.NDArray[np.int64]

# More threads than this gain little: one query is bound by memory, and other requests want processors too.
SCAN_THREADS = 2


class ScannedRows(Protocol):
    """Unit vectors in int8, laid out for scanning; rows can only be added. Calls may come from several threads."""

    def append(self, values: Int8s, scales: Floats, errors: Floats, /) -> None:
        """Add rows that are quantized. Raises ValueError for a wrong shape."""
        ...

    def append_vectors(self, vectors: Floats, /) -> None:
        """Quantize and add unit vectors (m, d). Raises ValueError for a wrong shape, NaN, or a length above 1."""
        ...

    def nearest(
        self, queries: Floats, k: int, allowed: npt.NDArray[np.bool_] | None = None, threads: int = 1
    ) -> tuple[Ints, Ints]:
        """Return (offsets, rows): ``rows[offsets[i] : offsets[i + 1]]`` hold the k nearest to query i, maybe more."""
        ...

    def __len__(self) -> int: ...


class NativeScan(Protocol):
    """What is used of the module ``sage_native``."""

    def PackedRows(self, dimension: int, /) -> ScannedRows:  # noqa: N802
        """Return rows without any."""
        ...

    def pairs_above(
        self, segments: Sequence[ScannedRows], queries: Floats, threshold: float, most: int, threads: int = 1, /
    ) -> Ints:
        """Return (m, 3) of segment, row and query: all pairs of at least this similarity, maybe more.

        Raises:
            ValueError: that is more than ``most`` pairs, or the queries do not fit.
        """
        ...

    def scan_variants(self) -> tuple[str, ...]:
        """Return the scans that this processor runs, the one in use last."""
        ...


def native_scan() -> NativeScan | None:
    """Return the C++ scan; None where it is not installed, too old, or turned off with ``SAGE_NATIVE=off``."""
    return None if os.environ.get("SAGE_NATIVE", "auto").strip().lower() == "off" else _installed()


@cache
def _installed() -> NativeScan | None:
    try:
        module = importlib.import_module("sage_native")
    except ModuleNotFoundError as error:
        if error.name != "sage_native":
            _report(str(error))
        return None
    except (ImportError, OSError) as error:
        _report(str(error))
        return None
    if not hasattr(module, "PackedRows"):
        _report("it has no vector scan")
        return None
    return cast(NativeScan, module)


def _report(reason: str) -> None:
    # Only a failure logs, and logging takes a third of a second to import.
    from sage_common.logging import get_logger

    get_logger(__name__).error(
        "sage-native is installed but cannot scan vectors; NumPy does",
        reason=reason,
        remedy="reinstall it with `pip install ./libs/cpp`, or set SAGE_NATIVE=off",
    )
