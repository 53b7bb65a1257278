"""The prompt of retrieval-augmented answers: its one format, how it is written and how it is read back.

A context block looks like this, and its sources are numbered from 1 in the order given::

    <context>
    <source id="1" from="docs/guide.md">
    The text of the passage.
    </source>
    </context>

    Question: What does the guide say?
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

RAG_SYSTEM = (
    "Answer the question from the sources in the context and from nothing else. "
    "Name the sources you used by their numbers in square brackets, like [1]. "
    "If the sources do not hold the answer, say so."
)
# The llm operator fills the same template, so a pipeline in YAML and the RAG application ask alike.
RAG_TEMPLATE = "{context}\n\nQuestion: {question}"

_SOURCE = re.compile(r'<source id="(\d+)" from="([^"\n]*)">\n(.*?)\n</source>', re.DOTALL)
_BLOCK = re.compile(r"<context>\n(.*?)</context>", re.DOTALL)
_QUESTION = re.compile(r"^Question:(.*)\Z", re.DOTALL)
# A passage may itself hold these tags: one backslash is added on the way in and taken away on the way out.
_TAG = re.compile(r"<(\\*)/(source|context)>")
_ESCAPED_TAG = re.compile(r"<\\(\\*)/(source|context)>")


class Passage(NamedTuple):
    """A piece of text offered to the model, and what it is called."""

    text: str
    label: str


class RagPrompt(NamedTuple):
    """A prompt in SAGE's own format, read back."""

    question: str
    passages: tuple[Passage, ...]


def render_context(passages: Sequence[Passage]) -> str:
    """Return the numbered context block of ``passages``."""
    sources = "".join(
        f'<source id="{number}" from="{_attribute(passage.label)}">\n{_escape(passage.text)}\n</source>\n'
        for number, passage in enumerate(passages, start=1)
    )
    return f"<context>\n{sources}</context>"


def rag_messages(question: str, passages: Sequence[Passage]) -> list[dict[str, str]]:
    """Return the chat messages that ask ``question`` about ``passages``."""
    content = f"{render_context(passages)}\n\nQuestion: {question}"
    return [{"role": "system", "content": RAG_SYSTEM}, {"role": "user", "content": content}]


def parse_context(text: str) -> tuple[Passage, ...] | None:
    """Return the passages of the context block in ``text``, or None where there is no block."""
    block = _BLOCK.search(text)
    if block is None:
        return None
    return tuple(
        Passage(_ESCAPED_TAG.sub(r"<\1/\2>", match[3]), html.unescape(match[2])) for match in _SOURCE.finditer(block[1])
    )


def parse_messages(messages: Sequence[Mapping[str, object]]) -> RagPrompt | None:
    """Read chat messages written by :func:`rag_messages`, or by anyone who uses the same context block.

    The block may be in any message; the question follows ``Question:`` after the block, or is what the last user
    message says outside the block. Returns None where no message has a context block.
    """
    passages: tuple[Passage, ...] | None = None
    question = ""
    for message in messages:
        text = message_text(message)
        found = parse_context(text)
        if found is not None:
            passages = (*(passages or ()), *found)
        if message.get("role") == "user":
            question = _question_in(text)
    return None if passages is None else RagPrompt(question, passages)


def label_of(path: str, heading: str) -> str:
    """Return what a passage is called: its document, with the headings above it (``A > B``) where it has any."""
    return f"{path} ({heading})" if heading else path


def heading_in_label(label: str) -> str:
    """Return the headings that :func:`label_of` wrote; empty where there are none."""
    _, opened, rest = label.partition(" (")
    return rest[:-1] if opened and rest.endswith(")") else ""


def message_text(message: Mapping[str, object]) -> str:
    """Return the text of an OpenAI chat message, whose content is a string or a list of typed parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text")
    return "\n".join(part for part in parts if isinstance(part, str))


def _question_in(text: str) -> str:
    block = _BLOCK.search(text)
    if block is None:
        return text.strip()
    before, after = text[: block.start()].strip(), text[block.end() :].strip()
    marked = _QUESTION.match(after)
    return marked[1].strip() if marked else after or before


def _attribute(label: str) -> str:
    return html.escape(label.replace("\n", " "), quote=True)


def _escape(text: str) -> str:
    return _TAG.sub(r"<\\\1/\2>", text)
