"""Pipelines that search a knowledge base."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage_common.errors import NotFoundError, UnimplementedError
from sage_kernel.builder import Pipeline
from sage_kernel.problems import NodeFailedError
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.spec import PipelineSpec
from sage_middleware.knowledge.ingest import ingest
from sage_middleware.knowledge.library import Library
from sage_middleware.knowledge.pipeline_index import LibraryAccess
from tests.fixtures.word_models import WordModels


def _pipeline(index: str, **options: object) -> PipelineSpec:
    pipeline = Pipeline("asks")
    pipeline.source(records=[{"question": "green grass", "keywords": "midnight"}], id="questions").embed(
        "{question}", id="vectors"
    ).retrieve(index, id="found", k=2, **options).sink("collection:found", id="out", fields=["context"])
    return pipeline.build()


async def test_a_knowledge_base_is_searched_by_vector_and_words(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "grass.md").write_text("# Grass\n\nIt is green.\n")
    (docs / "sky.md").write_text("# Sky\n\nThe sky is blue.\n\n## Night\n\nAt midnight it is black.\n")
    library = Library(tmp_path / "library")
    with library.create("weather") as collection:
        await ingest(collection, docs, WordModels())
    access = LibraryAccess(library)
    try:
        runner = LocalRunner(WordModels(), knowledge=access)
        (by_vector,) = (await runner.run(_pipeline("kb:weather"))).collections["found"]
        (by_both,) = (await runner.run(_pipeline("kb:weather", words="keywords"))).collections["found"]
    finally:
        await access.close()
    assert by_vector["context"][0]["text"] == "It is green."
    assert by_both["context"][0]["heading"] == "Sky > Night"
    assert (by_both["context"][0]["path"], by_both["context"][0]["line"]) == ("sky.md", 7)


async def test_a_name_that_is_not_there_fails_the_node(tmp_path: Path) -> None:
    access = LibraryAccess(Library(tmp_path))
    with pytest.raises(NodeFailedError) as failure:
        await LocalRunner(WordModels(), knowledge=access).run(_pipeline("kb:nowhere"))
    assert isinstance(failure.value.cause, NotFoundError)
    await access.close()


async def test_a_run_without_knowledge_bases_says_so() -> None:
    with pytest.raises(NodeFailedError) as failure:
        await LocalRunner(WordModels()).run(_pipeline("kb:weather"))
    assert isinstance(failure.value.cause, UnimplementedError)
