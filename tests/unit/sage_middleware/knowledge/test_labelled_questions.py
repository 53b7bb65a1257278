"""The labelled questions, and what the real embedder finds of them and quotes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sage_benchmark.knowledge.knowledge_result import KnowledgeResult
from sage_benchmark.knowledge.labelled_questions import LabelledQuestion, Split
from sage_benchmark.knowledge.labelled_sets import LabelledSet
from sage_benchmark.knowledge.measured_quality import ALL, DEFAULT_WAY, measure_quality
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.ingest import ingest
from sage_middleware.knowledge.retrieval import search
from tests.fixtures.labelled_questions import labelled_sets
from tests.fixtures.minilm_models import MiniLmModels
from tests.fixtures.word_models import WordModels


@pytest.mark.parametrize("labelled", labelled_sets(), ids=lambda one: one.name)
async def test_each_question_names_a_sentence_below_its_heading(labelled: LabelledSet, tmp_path: Path) -> None:
    labelled.copy_documents(tmp_path / "docs")
    with Collection.create(tmp_path / "c.kb") as collection:
        await ingest(collection, tmp_path / "docs", WordModels())
        documents = {one.file.path: one for one in collection.documents()}
        for question in labelled.questions:
            for file, sentence in question.answers:
                document = documents[file]
                alone = LabelledQuestion(question.question, file, "", sentence)
                passages = collection.neighbours(document.id, 0, document.chunks)
                answers = [one for one in passages if alone.is_answered_by(one)]
                assert answers, (question.question, sentence)
                if file == question.file and sentence == question.sentence:
                    last = [one.heading.split(" > ")[-1].replace("`", "") for one in answers]
                    assert any(heading.startswith(question.heading) for heading in last), (question, last)


def test_the_questions_are_many_and_half_of_the_new_ones_are_held_out() -> None:
    questions = [question for one in labelled_sets() for question in one.questions]
    splits = Counter(Split(question.split) for question in questions)
    assert len(questions) == len({question.question for question in questions}) >= 60
    assert splits[Split.HELD_OUT] >= 30


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_questions_about_a_packages_documents_are_found_and_answered(tmp_path: Path) -> None:
    # Three documents: all of them take minutes, and `sage bench kb` measures them.
    (cmake,) = [one for one in labelled_sets() if one.name == "cmake"]
    files = ("cmake-language.7.rst", "cmake-presets.7.rst", "cpack.1.rst")
    questions = tuple(one for one in cmake.questions if one.file in files)
    result = KnowledgeResult()
    part = replace(cmake, files=files, questions=questions)
    await measure_quality([part], tmp_path, MiniLmModels(), None, result, lambda _: None)
    hybrid = result.quality[f"hybrid, {ALL}"]
    # Twelve questions, less what another build of the embedder may move.
    assert (len(questions), hybrid.hit_at_4 >= 0.6) == (12, True), result.quality
    assert result.answers[ALL][DEFAULT_WAY] >= 0.25, result.answers


async def test_neither_licence_nor_changelog_outranks_what_answers(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "CHANGELOG.md").write_text("# Changelog\n\n- Leases of a scheduler are shorter.\n", "utf-8")
    (tmp_path / "docs" / "LICENSE").write_text("A lease of a scheduler is licensed as it is.\n", "utf-8")
    (tmp_path / "docs" / "guide.md").write_text("# Guide\n\nThe lease of a scheduler lasts a second.\n", "utf-8")
    models = WordModels()
    with Collection.create(tmp_path / "c.kb") as collection:
        await ingest(collection, tmp_path / "docs", models)
        question = "How long is the lease of a scheduler?"
        vector = (await models.embed([question])).vectors[0]
        assert search(collection, question, vector, 1)[0].path == "guide.md"
