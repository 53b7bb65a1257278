"""Deterministic unit vectors for texts: equal texts have equal vectors, and nothing else is claimed of them."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sage_benchmark.engine_http_server import render_json
from sage_benchmark.simulated.simulated_request import SimulatedRequest

DEFAULT_DIMENSIONS = 384


def vector_of(text: str, dimensions: int) -> NDArray[np.float32]:
    """Return ``dimensions`` little-endian float32 of norm 1, from a hash of the text."""
    digest = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(4 * dimensions)
    values = np.frombuffer(digest, dtype="<u4").astype(np.float64) / 2**31 - 1
    return (values / np.linalg.norm(values)).astype("<f4")


def embedding_response(request: SimulatedRequest) -> bytes:
    """The whole response to ``/v1/embeddings``."""
    data: list[dict[str, Any]] = []
    for index, text in enumerate(request.texts):
        vector = vector_of(text, request.dimensions or DEFAULT_DIMENSIONS)
        value = base64.b64encode(vector.tobytes()).decode() if request.base64 else vector
        data.append({"object": "embedding", "index": index, "embedding": value})
    usage = {"prompt_tokens": request.input_tokens, "total_tokens": request.input_tokens}
    return render_json({"object": "list", "data": data, "model": request.model, "usage": usage})
