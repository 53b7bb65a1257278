"""Texts by how alike they are, as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_studio.usage_chart import GREY

SHOWN_CHARACTERS = 28


def cosines(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the cosine of each pair of vectors (n, d) as (n, n); 0 where one of them is zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths == 0.0, 1.0, lengths)
    return np.clip(unit @ unit.T, -1.0, 1.0).astype(np.float32)


def similarity_options(texts: Sequence[str], alike: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return ECharts' options of a map of all pairs."""
    names = [text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…" for text in texts]
    count = len(names)
    cells = [[column, row, round(float(alike[row, column]), 3)] for row in range(count) for column in range(count)]
    return {
        "animation": False,
        "grid": {"left": 8, "right": 8, "top": 8, "bottom": 8, "containLabel": True},
        "tooltip": {"position": "top"},
        "xAxis": {"type": "category", "data": names, "axisLabel": {"color": GREY, "rotate": 25, "interval": 0}},
        "yAxis": {
            "type": "category",
            "data": names,
            "inverse": True,
            "axisLabel": {"color": GREY, "interval": 0},
        },
        "visualMap": {"show": False, "min": 0, "max": 1, "inRange": {"color": ["#e8edf7", "#4c78dd", "#23408f"]}},
        "series": [{"type": "heatmap", "data": cells, "label": {"show": count <= 10}}],
    }
