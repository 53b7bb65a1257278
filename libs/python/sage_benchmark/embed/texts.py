"""Texts to embed, of mixed lengths, distinct, and the same for the same seed; and requests that hold them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import orjson

from sage_benchmark.http_client import render_post

# Everyday words, each one token of most vocabularies.
_WORDS = """
time year people way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work government number night point home water room mother area money
story fact month lot right study book eye job word business issue side kind head house service friend father power
hour game line end member law car city community name president team minute idea body information back parent face
others level office door health person art war history party result change morning reason research girl guy moment air
teacher force education see go make know take come think look want give use find tell
"""
WORDS = _WORDS.split()
# Word counts are log-normal: most texts are a sentence, some fill the model's whole context.
MEDIAN_WORDS = 24
SPREAD = 0.9
MOST_WORDS = 240
EMBEDDINGS = "/v1/embeddings"


def mixed_texts(count: int, seed: int) -> list[str]:
    """Return ``count`` distinct texts of 3 to 240 words, most of a sentence's length."""
    random_ = random.Random(seed)
    texts = []
    for number in range(count):
        words = int(MEDIAN_WORDS * random_.lognormvariate(0, SPREAD))
        texts.append(text_of(random_, min(max(words, 3), MOST_WORDS), number))
    return texts


def short_texts(count: int, seed: int) -> list[str]:
    """Return ``count`` distinct texts of about eight words, like a search query."""
    random_ = random.Random(seed)
    return [text_of(random_, 8, number) for number in range(count)]


def text_of(random_: random.Random, words: int, number: int) -> str:
    """A text of ``words`` words that differs from those of other numbers."""
    return f"{number} " + " ".join(random_.choices(WORDS, k=words - 1))


def embedding_requests(
    base: str, model: str, texts: Sequence[str], per_request: int, headers: Sequence[tuple[str, str]] = ()
) -> list[bytes]:
    """Render requests of ``per_request`` texts each that ask for base64, as OpenAI's client does.

    Args:
        base: URL of the server, without ``/v1``.
    """
    starts = range(0, len(texts), per_request)
    groups = [list(texts[start : start + per_request]) for start in starts]
    bodies = [orjson.dumps({"model": model, "input": group, "encoding_format": "base64"}) for group in groups]
    return [render_post(base + EMBEDDINGS, body, headers) for body in bodies]
