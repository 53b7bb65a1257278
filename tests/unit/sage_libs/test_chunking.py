from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_libs.chunking import chunk_spans

texts = st.lists(
    st.sampled_from(["word", "Word", ". ", "\n", "\n\n", "- ", "# ", "x" * 30]) | st.text(max_size=6), max_size=60
).map("".join)


@given(texts, st.integers(1, 60), st.data())
def test_chunks_are_bounded_slices_that_cover_the_text_in_order(text: str, limit: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, limit - 1))
    chunks = chunk_spans(text, limit, overlap)
    covered = 0
    for start, end in chunks:
        assert 0 <= start < end <= len(text)
        assert end - start <= limit
        assert end > covered
        assert covered - start <= overlap
        assert text[covered:start].strip() == ""
        covered = end
    assert text[covered:].strip() == ""


def test_a_chunk_repeats_the_last_sentences_of_the_one_before() -> None:
    text = "One is one. Two is two. Three is three. Four is four."
    assert [text[a:b] for a, b in chunk_spans(text, 30, 15)] == [
        "One is one. Two is two.", "Two is two. Three is three.", "Four is four.",
    ]  # fmt: skip


def test_a_chunk_that_is_full_enough_ends_with_its_paragraph() -> None:
    text = "A paragraph of some length here.\n\nNext. Other words follow."
    assert [text[a:b] for a, b in chunk_spans(text, 45, 0)] == [
        "A paragraph of some length here.", "Next. Other words follow.",
    ]  # fmt: skip


@pytest.mark.parametrize(("limit", "overlap"), [(0, 0), (5, 5), (5, -1)])
def test_limits_out_of_range_are_refused(limit: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=r"_characters is"):
        chunk_spans("text", limit, overlap)
