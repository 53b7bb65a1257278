"""Answering from the text of a prompt: finding the question, and the passages to answer it from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sage_libs.prompts import heading_in_label, message_text, parse_messages
from sage_libs.sentences import paragraph_spans, sentence_spans

# A system message of fewer sentences than this is an instruction, not a context to answer from.
_SYSTEM_CONTEXT_SENTENCES = 3
_MARKED_QUESTION = re.compile(r"^[#*\s]*(?:question|query|q)\**\s*:\**\s*(\S.*)$", re.IGNORECASE | re.MULTILINE)
_TRAILING_ANSWER = re.compile(r"\n[#*\s]*(?:answer|response|a)\**\s*:\**\s*\Z", re.IGNORECASE)


class ParsedPrompt(NamedTuple):
    """What a chat asks, and the passages that it offers to answer from, in reading order (source 1 first).

    Attributes:
        headings: above each passage, ``A > B``; empty where none are known.
    """

    question: str
    context_passages: tuple[str, ...]
    headings: tuple[str, ...]


def parse_rag_prompt(messages: Sequence[Mapping[str, object]]) -> ParsedPrompt:
    """Find the question and the context in OpenAI chat messages.

    Reads SAGE's own context block (see ``sage_libs.prompts``). Of any other prompt it takes the last user message's
    question (a line marked ``Question:``, else its last sentence with a question mark, else an opening line that
    ends in a colon, else its last sentence) and everything else as the context: the rest of that message, earlier
    turns, and system text that is long enough to be more than an instruction.

    Returns:
        The question (empty only where no user message has text) and the passages, possibly none.
    """
    own_format = parse_messages(messages)
    if own_format is not None:
        passages = own_format.passages
        headings = tuple(heading_in_label(passage.label) for passage in passages)
        return ParsedPrompt(own_format.question, tuple(passage.text for passage in passages), headings)
    last_user = max((at for at, message in enumerate(messages) if message.get("role") == "user"), default=None)
    found: list[str] = []
    question = ""
    for at, message in enumerate(messages):
        text = message_text(message)
        if at == last_user:
            question, text = _split_question(text)
        elif message.get("role") in ("system", "developer") and not _is_context(text):
            continue
        found.extend(text[start:end] for start, end in paragraph_spans(text))
    return ParsedPrompt(question, tuple(found), ("",) * len(found))


def _split_question(text: str) -> tuple[str, str]:
    text = _TRAILING_ANSWER.sub("", text.strip())
    marked = list(_MARKED_QUESTION.finditer(text))
    if marked:
        last = marked[-1]
        return last[1].strip(), text[: last.start()] + "\n\n" + text[last.end() :]
    spans = sentence_spans(text)
    asking = [span for span in spans if text[span.start : span.end].rstrip("\"'”’)* ").endswith(("?", "？"))]
    first_line = text.split("\n", 1)[0].rstrip()
    if asking:
        start, end = asking[-1]
    elif first_line.endswith(":") and "\n" in text:
        start, end = 0, len(first_line)
    elif len(spans) < 2:
        return text, ""
    else:
        start, end = spans[-1]
    return text[start:end].strip(), text[:start] + "\n\n" + text[end:]


def _is_context(system_text: str) -> bool:
    return len(sentence_spans(system_text)) >= _SYSTEM_CONTEXT_SENTENCES
