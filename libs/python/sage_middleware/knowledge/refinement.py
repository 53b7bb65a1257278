"""Making a context of what was found: neighbours joined, headings kept, within a number of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sage_libs.tables import begins_within_table, head_above
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.records import Passage

# Rows are looked for this far above for the head of their table.
_MOST_CHUNKS_OF_A_TABLE = 40


def refine(collection: Collection, passages: Sequence[Passage], max_tokens: int) -> list[Passage]:
    """Return passages for a prompt, in the order given, of ``max_tokens`` tokens together.

    Passages that follow each other in one section become one, at the place of the better. Where there is room, a
    passage grows by the chunks around it of the same section, the best passage first. The best passage stays however
    long it is.
    """
    kept: list[Passage] = []
    left = max_tokens
    for passage in passages:
        if kept and passage.tokens > left:
            continue
        kept.append(passage)
        left -= passage.tokens
    kept = _joined(collection, kept)
    grown: list[Passage] = []
    for passage in kept:
        around = [
            one
            for one in collection.neighbours(passage.document_id, passage.position - 1, passage.end_position + 1)
            if one.heading == passage.heading and not _inside(one, [*kept, *grown])
        ]
        for one in sorted(around, key=lambda one: one.position < passage.position):
            if one.tokens <= left:
                left -= one.tokens
                passage = _join(collection, passage, one)
        grown.append(passage)
    return [_with_table_head(collection, passage) for passage in _joined(collection, grown)]


def _joined(collection: Collection, passages: Sequence[Passage]) -> list[Passage]:
    joined: list[Passage] = []
    for passage in passages:
        for at, other in enumerate(joined):
            if (
                other.document_id == passage.document_id
                and other.heading == passage.heading
                and passage.position <= other.end_position + 1
                and other.position <= passage.end_position + 1
            ):
                joined[at] = _join(collection, other, passage)
                break
        else:
            joined.append(passage)
    return joined


def _join(collection: Collection, better: Passage, other: Passage) -> Passage:
    chunks = collection.neighbours(
        better.document_id, min(better.position, other.position), max(better.end_position, other.end_position)
    )
    first, last = chunks[0], chunks[-1]
    return replace(
        better,
        chunk_id=first.chunk_id,
        text="\n\n".join(chunk.text for chunk in chunks),
        tokens=sum(chunk.tokens for chunk in chunks),
        position=first.position,
        end_position=last.position,
        start=first.start,
        end=last.end,
        line=first.line,
        end_line=last.end_line,
        page=first.page,
    )


def _with_table_head(collection: Collection, passage: Passage) -> Passage:
    if not begins_within_table(passage.text):
        return passage
    first = max(0, passage.position - _MOST_CHUNKS_OF_A_TABLE)
    above = [
        one.text
        for one in collection.neighbours(passage.document_id, first, passage.position - 1)
        if one.heading == passage.heading
    ]
    text = "\n".join([*above, passage.text])
    head = head_above(text, len(text) - len(passage.text))
    return replace(passage, text=f"{head}\n{passage.text}") if head else passage


def _inside(chunk: Passage, passages: Sequence[Passage]) -> bool:
    return any(
        one.document_id == chunk.document_id and one.position <= chunk.position <= one.end_position for one in passages
    )
