"""Pipelines that search a knowledge base."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage_common.errors import NotFoundError, UnimplementedError
from sage_kernel.builder import Pipeline
from sage_kernel.placement.resources import needs_of
from sage_kernel.problems import NodeFailedError, PipelineInvalidError
from sage_kernel.run_target import RunTarget
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.spec import PipelineSpec
from sage_kernel.validation import from_yaml, problems_of
from sage_middleware.knowledge.consistency import problems_of as problems_of_collection
from sage_middleware.knowledge.ingest import ingest
from sage_middleware.knowledge.library import Library
from sage_middleware.knowledge.pipeline_index import LibraryAccess
from sage_middleware.knowledge.retrieval import SearchMode, search
from tests.fixtures.small_disk import small_disk
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
    # Similarity to the question weighs more than words; what has neither of both comes last.
    assert [one["heading"] for one in by_both["context"]][:2] == ["Grass", "Sky > Night"]
    assert (by_both["context"][1]["path"], by_both["context"][1]["line"]) == ("sky.md", 7)


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


async def test_records_are_stored_as_documents_that_are_known_by_their_ids(tmp_path: Path) -> None:
    library, models = Library(tmp_path), WordModels()
    spec = from_yaml(
        """
        {apiVersion: sage/v1, kind: Pipeline, metadata: {name: notes}, nodes: {
          notes: {op: source, records: [
            {n: 1, note: The sky is blue., topic: weather, tags: [a]},
            {n: 2, note: "# Lawn\\n\\nThe grass is green.", topic: garden, tags: []},
            {n: 3, note: " ", topic: none, tags: []}]},
          out: {op: sink, in: notes, uri: "kb:notes", id: "{topic}/{n}.md", fields: [note, topic, tags, n],
                on_error: dlq}}}
        """
    )
    for embedded in (3, 3):  # One more than the texts: which model answers. The second run embeds nothing.
        access = LibraryAccess(library)
        result = await LocalRunner(models, knowledge=access).run(spec)
        await access.close()
        assert len(models.embedded) == embedded
        (letter,) = result.dead_letters
        assert "it holds no text" in letter.error
    with library.open("notes") as collection:
        assert problems_of_collection(collection) == []
        (found,) = search(collection, "green", None, 1, mode=SearchMode.WORDS, filters={"topic": "garden", "n": "2"})
        assert collection.counts() == (2, 2)
    assert (found.path, found.folder, found.heading) == ("garden/2.md", "", "Lawn")
    assert found.metadata == {"topic": "garden", "n": 2}


async def test_a_disk_that_is_full_is_waited_for_and_no_record_is_to_blame(tmp_path: Path) -> None:
    spec = from_yaml(
        """
        {apiVersion: sage/v1, kind: Pipeline, metadata: {name: notes}, nodes: {
          notes: {op: source, records: [{id: a, text: The sky is blue.}]},
          out: {op: sink, in: notes, uri: "kb:notes", patience: 0s, on_error: dlq}}}
        """
    )
    with small_disk(tmp_path / "disk", 1) as disk:
        disk.fill()
        access = LibraryAccess(Library(disk.path / "kb"))
        with pytest.raises(NodeFailedError, match=r"No space left|disk is full"):
            await LocalRunner(WordModels(), knowledge=access).run(spec)
        await access.close()


def test_ray_is_refused_when_compiled_and_a_name_that_is_none_when_read() -> None:
    problems = problems_of(_pipeline("kb:weather"), RunTarget("ray"))
    assert [(one.node, one.field) for one in problems] == [("found", "index")]
    assert "Ray's workers may be on machines that have not the file of kb:weather" in problems[0].message
    assert problems_of(_pipeline("kb:weather"), RunTarget("mesh")) == []
    with pytest.raises(PipelineInvalidError, match="cannot name a knowledge base"):
        from_yaml(
            """
            {apiVersion: sage/v1, kind: Pipeline, metadata: {name: notes}, nodes: {
              notes: {op: source, records: [{id: a, text: b}]},
              out: {op: sink, in: notes, uri: "kb:../notes"}}}
            """
        )


def test_a_task_that_uses_one_needs_a_worker_that_has_them() -> None:
    nodes = _pipeline("kb:weather").nodes
    assert needs_of(nodes.values()).labels == {"sage.knowledge": "here"}
    assert needs_of([node for name, node in nodes.items() if name != "found"]).labels == {}
