"""Finding the passages of a collection that answer a question: by vectors, by words, or by both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_common.errors import InvalidRequestError
from sage_libs.quantization import unit_rows
from sage_libs.section_kind import asked_kinds
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.records import Passage
from sage_middleware.knowledge.score_fusion import convex_combination

# Each list is read this deep before they are joined.
CANDIDATES = 50
# A contents list, changelog or licence counts half, unless the question is about one.
ASIDE_WEIGHT = 0.5
# A word in a heading says more than one in the text.
_HEADING_WEIGHT = 2.0
_WORD = re.compile(r"\w+")
# Words that ask, which documents are not about.
_ASKING = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by can could did do does for from had has have how i if in is it its me my of on or our "
        "should so tell than that the their them then there these they this to was we were what when where which who "
        "whom whose why will with would you your",
    )
)


class SearchMode(str, Enum):
    """What is compared with the question."""

    HYBRID = "hybrid"
    VECTORS = "vectors"
    WORDS = "words"


def search(
    collection: Collection,
    question: str,
    vector: npt.ArrayLike | None,
    k: int,
    *,
    mode: SearchMode = SearchMode.HYBRID,
    filters: Mapping[str, str] | None = None,
) -> list[Passage]:
    """Return the ``k`` best passages, best first.

    Args:
        question: its words; may be empty where only vectors are compared.
        vector: of the question, shape (d,); not needed where only words are compared.
        filters: what the document must have, by name: ``path`` and ``folder`` are patterns with ``*``, ``title`` and
            anything else of its metadata are compared as they are.

    Raises:
        InvalidRequestError: k < 1.
        ValueError: a vector that does not fit.
    """
    if k < 1:
        raise InvalidRequestError(f"k is {k}; ask for at least one passage", param="k")
    where, values = _condition(filters or {})
    depth = max(CANDIDATES, 2 * k)
    by_vector: list[int] = []
    scores: dict[int, float] = {}
    approximate, recall = False, None
    if mode is not SearchMode.WORDS:
        if vector is None:
            raise InvalidRequestError("a search by vectors needs the vector of the question")
        allowed = None
        if where:
            rows = collection.select(
                f"SELECT c.id FROM chunks c JOIN documents d ON d.id = c.document_id{where} ORDER BY c.id", values
            )
            allowed = np.array([row[0] for row in rows], dtype=np.int64)
        nearest = collection.nearest(vector, depth, allowed)
        by_vector = [int(one) for one in nearest.ids]
        scores = dict(zip(by_vector, (float(score) for score in nearest.scores), strict=True))
        approximate, recall = nearest.approximate, nearest.recall
    word_scores = {} if mode is SearchMode.VECTORS else _by_words(collection, question, depth, where, values)
    by_word = list(word_scores)
    keys = list(dict.fromkeys([*by_vector, *by_word]))
    found = collection.passages(keys)
    if mode is not SearchMode.WORDS:
        # What only words have found has a similarity, too.
        others = [key for key in by_word if key not in scores]
        if others:
            unit = unit_rows(np.asarray(vector, dtype=np.float32)[np.newaxis])[0]
            similarities = collection.vectors_of(others) @ unit
            scores |= zip(others, (float(one) for one in similarities), strict=True)
    asked = asked_kinds(question)
    weights = {key: 1.0 if passage.kind in asked else ASIDE_WEIGHT for key, passage in found.items()}
    fused = convex_combination(scores, word_scores, weights)
    vector_ranks = {key: rank for rank, key in enumerate(by_vector, start=1)}
    word_ranks = {key: rank for rank, key in enumerate(by_word, start=1)}
    # Between equals the nearer in meaning comes first, then the earlier stored.
    order = sorted((key for key in fused if key in found), key=lambda key: (-fused[key], -scores.get(key, -1.0), key))
    return [
        replace(
            found[key],
            score=scores.get(key),
            fused=fused[key],
            vector_rank=vector_ranks.get(key),
            word_rank=word_ranks.get(key),
            word_score=word_scores.get(key),
            approximate=approximate,
            recall=recall,
        )
        for key in order[:k]
    ]


def _by_words(collection: Collection, question: str, depth: int, where: str, values: Sequence[Any]) -> dict[int, float]:
    """Return BM25 by chunk, best first. SQLite's is negative; here greater is better."""
    match = match_expression(question)
    if not match:
        return {}
    joined = " JOIN chunks c ON c.id = words.rowid JOIN documents d ON d.id = c.document_id" if where else ""
    condition = f"{where} AND" if where else " WHERE"
    rows = collection.select(
        f"SELECT words.rowid, -bm25(words, {_HEADING_WEIGHT}, 1.0) AS score FROM words{joined}{condition} "
        "words MATCH ? ORDER BY score DESC, words.rowid LIMIT ?",
        (*values, match, depth),
    )
    return dict(rows)


def match_expression(question: str) -> str:
    """Return the FTS5 expression for any of the words of a question, without those that only ask."""
    words = [word for word in _WORD.findall(question.lower()) if word not in _ASKING]
    # FTS5 takes a quoted word as it is, whatever it means outside of quotes.
    return " OR ".join(f'"{word}"' for word in dict.fromkeys(words or _WORD.findall(question.lower())))


def _condition(filters: Mapping[str, str]) -> tuple[str, list[Any]]:
    parts, values = [], []
    for name, wanted in filters.items():
        if name in ("path", "folder"):
            parts.append(f"d.{name} GLOB ?")
            values.append(wanted)
        elif name == "title":
            parts.append("d.title = ?")
            values.append(wanted)
        else:
            parts.append("CAST(json_extract(d.metadata, ?) AS TEXT) = ?")
            values += [f'$."{name.replace(chr(34), "")}"', wanted]
    return (f" WHERE {' AND '.join(parts)}" if parts else ""), values
