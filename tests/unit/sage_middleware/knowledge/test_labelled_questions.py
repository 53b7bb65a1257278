"""The labelled questions, and what the real embedder finds of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sage_benchmark.knowledge.labelled_questions import ranking_quality
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.ingest import ingest
from sage_middleware.knowledge.retrieval import SearchMode, search
from tests.fixtures.labelled_questions import ROOT, labelled_questions
from tests.fixtures.minilm_models import MiniLmModels
from tests.fixtures.word_models import WordModels


async def _repository(tmp_path: Path, collection: Collection, models: MiniLmModels | WordModels) -> None:
    docs = tmp_path / "docs"
    for question in labelled_questions():
        target = docs / question.file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / question.file, target)
    for name in ("LICENSE", "CHANGELOG.md"):
        shutil.copyfile(ROOT / name, docs / name)
    await ingest(collection, docs, models)


async def test_each_question_names_a_sentence_below_its_heading(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c.kb") as collection:
        await _repository(tmp_path, collection, WordModels())
        documents = {one.file.path: one for one in collection.documents()}
        for question in labelled_questions():
            document = documents[question.file]
            passages = collection.neighbours(document.id, 0, document.chunks)
            answers = [one for one in passages if question.is_answered_by(one)]
            assert answers, question
            assert any(one.heading.split(" > ")[-1].startswith(question.heading) for one in answers), question
    assert len(labelled_questions()) >= 30


@pytest.mark.timeout(300)
async def test_hybrid_search_finds_more_than_vectors_or_words_alone(tmp_path: Path) -> None:
    models = MiniLmModels()
    questions = labelled_questions()
    with Collection.create(tmp_path / "c.kb") as collection:
        await _repository(tmp_path, collection, models)
        answer = await models.embed([one.question for one in questions])
        vectors = dict(zip(questions, answer.vectors, strict=True))
        quality = {
            mode: ranking_quality(
                questions,
                lambda one, mode=mode: search(collection, one.question, vectors[one], 10, mode=mode),  # type: ignore[misc]
            )
            for mode in SearchMode
        }
        best = [search(collection, one.question, vectors[one], 1)[0].path for one in questions]
    alone = max(quality[SearchMode.VECTORS].ndcg_at_10, quality[SearchMode.WORDS].ndcg_at_10)
    hybrid = quality[SearchMode.HYBRID]
    assert hybrid.ndcg_at_10 >= 1.05 * alone, quality
    assert hybrid.hit_at_1 >= 0.5, quality
    assert hybrid.hit_at_4 >= 0.7, quality
    assert not {"LICENSE", "CHANGELOG.md"} & set(best)
