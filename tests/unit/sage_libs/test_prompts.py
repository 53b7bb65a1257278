from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage_libs.prompts import (
    RAG_TEMPLATE,
    Passage,
    parse_context,
    parse_messages,
    rag_messages,
    render_context,
)

fragments = st.lists(
    st.sampled_from(["word", " ", "\n", "</source>", "</context>", "<context>", "\\", "<\\/source>", '"', "é", "[1]"])
    | st.text(max_size=5)
).map("".join)
labels = st.text(alphabet=st.characters(exclude_characters="\n"), max_size=12)


@given(st.lists(st.builds(Passage, fragments, labels), max_size=4))
def test_a_context_block_reads_back_as_the_passages_it_was_made_of(passages: list[Passage]) -> None:
    assert parse_context(render_context(passages)) == tuple(passages)


@given(fragments.filter(lambda text: "<context>\n" not in text), st.lists(st.builds(Passage, fragments, labels)))
def test_a_question_reads_back_whatever_tags_it_holds(question: str, passages: list[Passage]) -> None:
    parsed = parse_messages(rag_messages(question, passages))
    assert parsed is not None
    assert parsed.passages == tuple(passages)
    assert parsed.question == question.strip()


def test_the_template_of_the_llm_operator_writes_the_same_user_message() -> None:
    passages = [Passage("The sky is blue.", "sky.md")]
    filled = RAG_TEMPLATE.format(context=render_context(passages), question="Which colour?")
    assert rag_messages("Which colour?", passages)[1]["content"] == filled


def test_a_context_block_in_the_system_message_is_found() -> None:
    block = render_context([Passage("The sky is blue.", "sky.md")])
    parsed = parse_messages([{"role": "system", "content": f"Use this.\n{block}"}, {"role": "user", "content": "Why?"}])
    assert parsed == ("Why?", (Passage("The sky is blue.", "sky.md"),))


def test_content_given_as_typed_parts_is_read() -> None:
    block = render_context([Passage("a", "b")])
    content = [
        {"type": "text", "text": block},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "Question: c?"},
    ]
    assert parse_messages([{"role": "user", "content": content}]) == ("c?", (Passage("a", "b"),))


def test_messages_without_a_block_are_none_of_ours() -> None:
    assert parse_messages([{"role": "user", "content": "Hello"}, {"role": "user", "content": None}]) is None
