"""Linear layers: whichever of torch's two CPU implementations is faster on this processor.

``torch.nn.functional.linear`` calls MKL for float32, which on AMD processors keeps to narrow instructions; oneDNN
with weights packed ahead was there 2.2-2.4 times as fast, and is no faster with later versions of either. So it is
measured at start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

# Rows that weights are packed and measured for: a few short texts.
TYPICAL_ROWS = 64
_REPEATS = 8
# How much faster packed weights have to be.
LEAST_GAIN = 1.15


class Linear(Protocol):
    """``x @ weight.T + bias``, optionally followed by exact GELU, for ``x`` of shape (rows, inputs)."""

    def __call__(self, x: Tensor) -> Tensor: ...


MakeLinear = Callable[[Tensor, Tensor, bool], Linear]


@dataclass(frozen=True, slots=True)
class LinearKind:
    """An implementation: its name for people, and its constructor from weight, bias and whether GELU follows."""

    name: str
    make: MakeLinear


class PlainLinear:
    """torch's own path: MKL for float32, oneDNN for anything narrower."""

    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool) -> None:
        self._weight = weight
        self._bias = bias
        self._gelu = gelu
        self._by_onednn = weight.dtype is not torch.float32

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.shape[0]
        if self._by_onednn:
            x = pad_rows(x)
        y = functional.linear(x, self._weight, self._bias)
        return (functional.gelu(y) if self._gelu else y)[:rows]


class PackedLinear:
    """oneDNN with packed weights and fused GELU, through the operators that torch's own compiler uses."""

    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, TYPICAL_ROWS)
        self._bias = bias
        # "none" is the exact GELU, with erf.
        self._after = ("gelu", "none") if gelu else ("none", "")

    def __call__(self, x: Tensor) -> Tensor:
        attribute, algorithm = self._after
        y: Tensor = torch.ops.mkldnn._linear_pointwise(pad_rows(x), self._weight, self._bias, attribute, [], algorithm)
        return y[: x.shape[0]]


def pad_rows(x: Tensor) -> Tensor:
    """Return ``x`` of shape (rows, inputs) with rows of zeros up to a rounded number of them.

    oneDNN compiles code for each new number of rows, which costs milliseconds, and keeps it, which costs memory.
    """
    rows = x.shape[0]
    rounded = rounded_rows(rows)
    return x if rounded == rows else functional.pad(x, (0, 0, 0, rounded - rows))


def rounded_rows(rows: int) -> int:
    """Return the rows to compute for ``rows``: at most 7 more for few rows, at most an eighth more for many."""
    step = 8
    while rows > 8 * step * 2:
        step *= 2
    return -(-rows // step) * step


PLAIN = LinearKind("plain", PlainLinear)
PACKED = LinearKind("oneDNN", PackedLinear)


def fastest_linear(inputs: int, outputs: int, dtype: torch.dtype, device: torch.device) -> LinearKind:
    """Measure the implementations on a layer of this size, for some milliseconds, in turns, and return the faster one.

    Where they are nearly alike it is always torch's own, so that two processes on one machine compute alike.
    """
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return PLAIN
    weight, bias, x = (torch.rand(shape, dtype=dtype) for shape in ((outputs, inputs), outputs, (TYPICAL_ROWS, inputs)))
    plain = PLAIN.make(weight, bias, True)
    plain(x)
    try:
        packed = PACKED.make(weight, bias, True)
        packed(x)
    except (AttributeError, RuntimeError):
        # The operators are not part of torch's stable API; a version without them still serves.
        return PLAIN
    turns = [(_seconds(packed, x), _seconds(plain, x)) for _ in range(_REPEATS)]
    best_packed, best_plain = (min(seconds) for seconds in zip(*turns, strict=True))
    return PACKED if best_packed * LEAST_GAIN < best_plain else PLAIN


def _seconds(linear: Linear, x: Tensor) -> float:
    began = time.perf_counter()
    linear(x)
    return time.perf_counter() - began
