from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage_apps.rag import RagProgress, Source, answer_question
from sage_common.errors import InvalidRequestError, NotFoundError, SageError, UnavailableError, UnprocessableError
from sage_kernel.model_port import ChatText, Embeddings
from sage_kernel.problems import PipelineInvalidError
from sage_libs.extractive import parse_rag_prompt

WORDS = ("sky", "grass", "snow", "blue", "green", "white")


class WordModels:
    """Embeds a text as which of a few words it holds; answers with the first passage of the prompt."""

    def __init__(self, chat_error: SageError | None = None) -> None:
        self.embedded: list[str] = []
        self.prompts: list[Sequence[Mapping[str, str]]] = []
        self._chat_error = chat_error

    async def embed(self, texts: Sequence[str], model: str | None = None, **options: Any) -> Embeddings:
        self.embedded.extend(texts)
        rows = [[float(word in text.lower()) for word in WORDS] for text in texts]
        return Embeddings(np.array(rows, dtype=np.float32), model or "words")

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        **options: Any,
    ) -> ChatText:
        if self._chat_error:
            raise self._chat_error
        self.prompts.append(messages)
        return ChatText(f"{parse_rag_prompt(messages).context_passages[0]} [1]", model or "first-passage")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "sky.md").write_text("# Sky\n\nThe sky is blue.")
    (docs / "grass.txt").write_text("Grass is green.")
    (docs / "snow.html").write_text("<title>Snow</title><p>Snow is white.</p>")
    (docs / "logo.png").write_bytes(b"\x89PNG")
    return docs


async def test_an_answer_comes_with_its_sources_counts_and_timings(folder: Path) -> None:
    models = WordModels()
    seen: list[RagProgress] = []
    answer = await answer_question(" Which colour is the sky? ", folder, models, 2, seen.append)
    assert answer.text == "# Sky\n\nThe sky is blue. [1]"
    assert answer.model == "first-passage"
    best, second = answer.sources
    assert (best.number, best.path, best.title, best.start, best.end) == (1, "sky.md", "Sky", 0, 23)
    assert best.excerpt == "# Sky The sky is blue."
    assert best.score == pytest.approx(2**-0.5)
    assert second.score <= best.score
    assert parse_rag_prompt(models.prompts[0]).question == "Which colour is the sky?"
    assert answer.counts["documents"].records_out == 3
    assert answer.timings["total"] > 0
    assert [(skip.item, skip.reason) for skip in answer.skipped] == [("logo.png", ".png is not a format that is read")]
    assert seen[-1] == RagProgress(documents=3, chunks=3, embedded=3, answering=True)


async def test_a_second_question_embeds_only_what_has_changed(folder: Path, tmp_path: Path) -> None:
    await answer_question("sky?", folder, WordModels(), cache_dir=tmp_path / "cache")
    (folder / "sky.md").write_text("The sky is green.")
    models = WordModels()
    answer = await answer_question("sky?", folder, models, cache_dir=tmp_path / "cache")
    assert sorted(models.embedded) == ["Grass is green.", "The sky is green.", "sky?"]
    assert answer.sources[0].path == "sky.md"
    assert answer.warnings == ()


async def test_what_cannot_be_answered_says_why(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequestError, match="empty"):
        await answer_question("  ", folder, WordModels())
    with pytest.raises(InvalidRequestError, match="8001 characters"):
        await answer_question("x" * 8001, folder, WordModels())
    with pytest.raises(NotFoundError, match="not there"):
        await answer_question("x?", tmp_path / "none", WordModels())
    with pytest.raises(UnprocessableError, match="no document"):
        await answer_question("x?", tmp_path / "empty", WordModels())
    with pytest.raises(PipelineInvalidError, match="field 'k'"):
        await answer_question("x?", folder, WordModels(), 0)


async def test_a_failure_of_the_models_is_passed_on_as_it_is(folder: Path) -> None:
    error = UnavailableError("no engine serves chat; start one", retry_after_seconds=0.001)
    with pytest.raises(UnavailableError, match="start one"):
        await answer_question("sky?", folder, WordModels(error))


async def test_one_document_is_enough(folder: Path) -> None:
    answer = await answer_question("Which colour is the sky?", folder / "sky.md", WordModels())
    assert [source.path for source in answer.sources] == ["sky.md"]
    assert answer.counts["documents"].records_out == 1


async def test_nothing_relevant_is_said_without_asking_a_model(folder: Path) -> None:
    models = WordModels()
    answer = await answer_question("sky?", folder, models, min_score=0.99)
    assert answer.text == "Nothing relevant to the question was found in 3 documents."
    assert (answer.model, answer.sources, models.prompts) == ("", (), [])


async def test_a_source_names_its_lines_in_the_file_or_its_page(tmp_path: Path) -> None:
    (tmp_path / "guide.md").write_text("---\ntitle: x\n---\n\nThe sky\nis blue.\n")
    answer = await answer_question("sky?", tmp_path, WordModels())
    assert answer.sources[0].place == "guide.md:5-6"
    paged = Source(1, "a.pdf", "", 0, 1, 0.5, "x", 1, 1, 3)
    assert paged.place == "a.pdf, page 3"
