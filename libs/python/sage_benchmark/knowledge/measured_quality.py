"""How often the passage that answers is found, and how often an answer begins with the right sentence."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sage_benchmark.knowledge.answer_quality import AskedQuestion, ask, shares_right, shares_right_generated
from sage_benchmark.knowledge.knowledge_result import KnowledgeFigure, KnowledgeResult
from sage_benchmark.knowledge.labelled_questions import DEPTH, LabelledQuestion, Split, ranking_quality
from sage_benchmark.knowledge.labelled_sets import LabelledSet
from sage_kernel.model_port import ModelPort
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.ingest import ingest
from sage_middleware.knowledge.records import Passage
from sage_middleware.knowledge.retrieval import SearchMode, search

_BAR_FIRST_SENTENCE = 0.8
_BAR_HYBRID = 1.05
ALL = "all"
DEFAULT_WAY = "embedder, words, place and form"


class _Found(NamedTuple):
    question: LabelledQuestion
    passages: dict[SearchMode, Sequence[Passage]]
    asked: AskedQuestion


async def measure_quality(
    sets: Sequence[LabelledSet],
    work: Path,
    models: ModelPort,
    generating_model: str | None,
    result: KnowledgeResult,
    on_step: Callable[[str], None],
) -> None:
    """Ingest the documents of each set into a folder below ``work``, ask its questions, and add what was found."""
    found: list[_Found] = []
    times: list[float] = []
    for one in sets:
        if not one.questions:
            continue
        on_step(f"asking {len(one.questions)} questions about {one.name}")
        documents = work / f"{one.name}-documents"
        await asyncio.to_thread(one.copy_documents, documents)
        with Collection.create(work / f"{one.name}-labelled.kb") as collection:
            await ingest(collection, documents, models)
            found += await _asked(collection, one.questions, models, times)
    if not found:
        return
    for split in (ALL, *(split.value for split in Split)):
        part = [one for one in found if split in (ALL, one.question.split)]
        if part:
            await _add(split, part, models, generating_model, result, on_step)
    alone = max(result.quality[f"{mode.value}, {ALL}"].ndcg_at_10 for mode in (SearchMode.VECTORS, SearchMode.WORDS))
    ratio = result.quality[f"{SearchMode.HYBRID.value}, {ALL}"].ndcg_at_10 / alone if alone else 0.0
    result.figures += [
        KnowledgeFigure("hybrid search of these documents", 1e3 * statistics.median(times), "ms"),
        KnowledgeFigure("nDCG@10, hybrid ÷ the better alone", ratio, "", _BAR_HYBRID, at_most=False),
        KnowledgeFigure(
            "first sentence right", result.answers[ALL][DEFAULT_WAY], "", _BAR_FIRST_SENTENCE, at_most=False
        ),
    ]


async def _asked(
    collection: Collection, questions: Sequence[LabelledQuestion], models: ModelPort, times: list[float]
) -> list[_Found]:
    vectors = (await models.embed([one.question for one in questions], collection.model)).vectors
    found = []
    for question, vector in zip(questions, vectors, strict=True):
        passages: dict[SearchMode, Sequence[Passage]] = {}
        for mode in SearchMode:
            began = time.perf_counter()
            passages[mode] = search(collection, question.question, vector, DEPTH, mode=mode)
            if mode is SearchMode.HYBRID:
                times.append(time.perf_counter() - began)
        found.append(_Found(question, passages, await ask(collection, question, vector, models)))
    return found


async def _add(
    split: str,
    part: Sequence[_Found],
    models: ModelPort,
    generating_model: str | None,
    result: KnowledgeResult,
    on_step: Callable[[str], None],
) -> None:
    for mode in SearchMode:
        by_question = {one.question: one.passages[mode] for one in part}
        result.quality[f"{mode.value}, {split}"] = ranking_quality(list(by_question), by_question.__getitem__)
    asked = [one.asked for one in part]
    on_step(f"answering {len(asked)} questions ({split})")
    result.answers[split] = shares_right(asked)
    if generating_model is not None and split != ALL:
        result.answers[split] |= await shares_right_generated(asked, models, generating_model)
