from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sage_common.errors import InvalidRequestError
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.ingest import ingest
from sage_middleware.knowledge.records import Passage
from sage_middleware.knowledge.refinement import refine
from sage_middleware.knowledge.retrieval import SearchMode, match_expression, search
from sage_middleware.knowledge.score_fusion import convex_combination
from tests.fixtures.word_models import WordModels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "sky.md").write_text("# Sky\n\nThe sky is blue.\n\n## Night\n\nAt midnight it is black.\n")
    (docs / "grass.txt").write_text("Grass is green.")
    (docs / "LICENSE").write_text("License of the sky, blue sky, sky.")
    (docs / "CHANGELOG.md").write_text("# Changelog\n\nThe door is blue now, as the sky.")
    return docs


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    with Collection.create(tmp_path / "c.kb") as made:
        yield made


async def _find(collection: Collection, question: str, k: int = 4, **options: object) -> list[Passage]:
    vector = (await WordModels().embed([question])).vectors[0]
    return search(collection, question, vector, k, **options)  # type: ignore[arg-type]


def test_fusion_weighs_similarity_and_words_and_prefers_what_has_both() -> None:
    scores = convex_combination({"a": 0.5, "b": 0.5, "d": -0.2}, {"c": 4.0, "b": 2.0})
    assert max(scores, key=lambda key: scores[key]) == "b"
    assert scores == pytest.approx({"a": 0.4, "b": 0.4 + 0.1, "c": 0.2, "d": 0.0})
    assert convex_combination({"a": 0.5}, {}, {"a": 0.5})["a"] == pytest.approx(0.2)


async def test_a_licence_and_a_changelog_do_not_outrank_what_answers(collection: Collection, folder: Path) -> None:
    await ingest(collection, folder, WordModels())
    found = await _find(collection, "Which colour is the blue sky?")
    assert found[0].path == "sky.md"
    asked = await _find(collection, "What is the license of the blue sky?")
    assert asked[0].path == "LICENSE"


async def test_each_mode_finds_by_its_own_measure(collection: Collection, folder: Path) -> None:
    await ingest(collection, folder, WordModels())
    by_words = await _find(collection, "When is midnight?", mode=SearchMode.WORDS)
    assert [(one.heading, one.score, one.word_rank) for one in by_words] == [("Sky > Night", None, 1)]
    by_vectors = await _find(collection, "green grass", 1, mode=SearchMode.VECTORS)
    assert [(one.path, one.vector_rank, one.word_rank) for one in by_vectors] == [("grass.txt", 1, None)]


async def test_filters_keep_only_documents_that_have_it(collection: Collection, folder: Path) -> None:
    await ingest(collection, folder, WordModels(), metadata={"team": "sky", "year": 2026})
    assert {one.path for one in await _find(collection, "sky", filters={"path": "*.md"})} == {"sky.md", "CHANGELOG.md"}
    assert await _find(collection, "sky", filters={"team": "sky", "year": "2026"})
    assert await _find(collection, "sky", filters={"team": "sea"}) == []
    assert await _find(collection, "sky", filters={"title": "Sky"})
    assert await _find(collection, "sky", filters={'x" OR 1=1 --': "y"}) == []


async def test_the_vectors_are_read_again_when_another_connection_has_stored(
    collection: Collection, folder: Path
) -> None:
    await ingest(collection, folder, WordModels())
    with Collection(collection.path, read_only=True) as reader:
        assert (await _find(reader, "ball", 1))[0].score == pytest.approx(0, abs=0.1)
        (folder / "ball.txt").write_text("A ball.")
        await ingest(collection, folder, WordModels())
        assert [one.path for one in await _find(reader, "ball", 1)] == ["ball.txt"]


async def test_an_empty_collection_finds_nothing(collection: Collection) -> None:
    assert search(collection, "sky", [1.0, 2.0], 3) == []
    with pytest.raises(InvalidRequestError):
        search(collection, "sky", None, 3)
    with pytest.raises(InvalidRequestError):
        search(collection, "sky", [1.0], 0)


@pytest.mark.parametrize(
    "question", ['"', "a AND (b", "NEAR(x", "col:x", "*", "", "'; DROP TABLE chunks; --", "日本語 の"]
)
async def test_no_question_is_a_syntax_error(collection: Collection, folder: Path, question: str) -> None:
    await ingest(collection, folder, WordModels())
    search(collection, question, None, 3, mode=SearchMode.WORDS)
    assert collection.counts()[0] == 4


def test_words_that_only_ask_are_left_out_unless_there_are_no_others() -> None:
    assert match_expression("Who owns the request?") == '"owns" OR "request"'
    assert match_expression("Who is it?") == '"who" OR "is" OR "it"'


async def test_neighbours_are_joined_within_the_budget(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    sentences = [
        f"Sentence {number} is about the sky and says a good deal of it in many words." for number in range(20)
    ]
    (docs / "long.md").write_text("# Long\n\n" + "\n\n".join(sentences) + "\n\n## Other\n\nThe door.\n")
    with Collection.create(tmp_path / "c.kb", chunk_tokens=40) as collection:
        await ingest(collection, docs, WordModels())
        (document,) = collection.documents()
        chunks = collection.neighbours(document.id, 0, document.chunks)
        assert document.chunks > 6
        # Found out of order, and one apart.
        joined = refine(collection, [chunks[3], chunks[2], chunks[-1]], 10_000)
        assert [one.heading for one in joined] == ["Long", "Long > Other"]
        assert (joined[0].position, joined[0].end_position) == (1, 4)
        assert joined[0].text.count("Sentence") == sum(one.text.count("Sentence") for one in chunks[1:5])
        assert joined[0].line == chunks[1].line
        small = refine(collection, [chunks[3], chunks[2]], chunks[3].tokens)
        assert [(one.position, one.end_position) for one in small] == [(3, 3)]
        assert sum(one.tokens for one in refine(collection, chunks[:9], 100)) <= 100
        (only,) = refine(collection, [chunks[0]], 1)
        assert only.tokens > 1
