"""What the classifier's reading of a request costs: parsing, segment extraction and features, native and in Python."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from sage_control_plane.request.body import read_body
from sage_control_plane.request.features import DEFAULT_BLOCK_BYTES, FeatureExtractor, request_features
from sage_control_plane.request.request import Endpoint
from sage_middleware.features import NATIVE, PYTHON, load_feature_extractor

BODY_BYTES = 4096
TARGET_US = 20.0
WARM_UP = 100
LETTERS = "etaoinshrdlucmfwypvbgk"
ENDINGS = ("", "", "", "", ",", ".")


def run(repetitions: int, seed: int) -> dict[str, Any]:
    """Measure reading one chat body of 4 kB and return times in microseconds.

    The result has ``body_bytes``, ``target_us``, ``input_tokens``, ``blocks``, ``parse`` (orjson and segment
    extraction, the same for both) and, by implementation, ``features`` and ``total`` (both in one go); each time is a
    mapping with ``p50_us`` and ``p99_us``. ``native`` is left out where sage-native is not in use.

    Raises ``ValueError`` when ``repetitions`` is below 1.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions must be at least 1, not {repetitions}")
    body = chat_body(random.Random(seed))
    segments = read_body(Endpoint.CHAT_COMPLETIONS, body).segments
    tokens, hashes = request_features(segments, DEFAULT_BLOCK_BYTES)
    extractors: dict[str, FeatureExtractor] = {PYTHON: request_features}
    chosen, name = load_feature_extractor()
    if name == NATIVE:
        extractors = {NATIVE: chosen, **extractors}
    return {
        "body_bytes": len(body),
        "target_us": TARGET_US,
        "input_tokens": tokens,
        "blocks": len(hashes),
        "parse": _time(partial(read_body, Endpoint.CHAT_COMPLETIONS, body), repetitions),
        "features": {
            name: _time(partial(extract, segments, DEFAULT_BLOCK_BYTES), repetitions)
            for name, extract in extractors.items()
        },
        "total": {
            name: _time(partial(_read_and_extract, extract, body), repetitions) for name, extract in extractors.items()
        },
    }


def _read_and_extract(extract: FeatureExtractor, body: bytes) -> tuple[int, list[int]]:
    return extract(read_body(Endpoint.CHAT_COMPLETIONS, body).segments, DEFAULT_BLOCK_BYTES)


def chat_body(rng: random.Random) -> bytes:
    """Return a chat request of exactly 4,096 bytes: a system prompt and turns of English-like text."""
    messages = [{"role": "system", "content": "You answer from the documents you are given, and name them."}]
    body: dict[str, Any] = {"model": "default", "stream": True, "max_tokens": 256, "messages": messages}
    while len(orjson.dumps(body)) < BODY_BYTES - 600:
        role = "user" if len(messages) % 2 else "assistant"
        messages.append({"role": role, "content": _prose(rng, 500)})
    messages.append({"role": "user", "content": ""})
    messages[-1]["content"] = _prose(rng, BODY_BYTES - len(orjson.dumps(body)))
    return orjson.dumps(body)


def _prose(rng: random.Random, length: int) -> str:
    words = []
    size = 0
    while size <= length:
        word = "".join(rng.choices(LETTERS, k=rng.randint(1, 9))) + rng.choice(ENDINGS)
        words.append(word)
        size += len(word) + 1
    return " ".join(words)[:length]


def _time(work: Callable[[], object], repetitions: int) -> Mapping[str, float]:
    for _ in range(WARM_UP):
        work()
    clock = time.perf_counter_ns
    elapsed = []
    for _ in range(repetitions):
        start = clock()
        work()
        elapsed.append(clock() - start)
    elapsed.sort()
    return {
        "p50_us": elapsed[len(elapsed) // 2] / 1000,
        "p99_us": elapsed[min(len(elapsed) - 1, len(elapsed) * 99 // 100)] / 1000,
    }
