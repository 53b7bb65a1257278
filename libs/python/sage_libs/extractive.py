"""Answering from the text of a prompt: find the question and the context, split it, rank its sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sage_libs.prompts import message_text, parse_messages
from sage_libs.sentences import paragraph_spans, sentence_spans

# Two sentences nearer than this say the same thing; the second is not repeated.
DUPLICATE_SIMILARITY = 0.97
# A system message of fewer sentences than this is an instruction, not a context to answer from.
_SYSTEM_CONTEXT_SENTENCES = 3
# Share of letters and digits below which something is a drawing or a rule, not a sentence.
_LEAST_TEXT = 0.6
_MARKED_QUESTION = re.compile(r"^[#*\s]*(?:question|query|q)\**\s*:\**\s*(\S.*)$", re.IGNORECASE | re.MULTILINE)
_TRAILING_ANSWER = re.compile(r"\n[#*\s]*(?:answer|response|a)\**\s*:\**\s*\Z", re.IGNORECASE)
_LEADING_MARKUP = re.compile(r"^(?:#{1,6}\s+|[-*+•]\s+|\d{1,3}[.)]\s+|>\s*)+")
_TABLE_RULE = re.compile(r"^\|(?:\s*:?-+:?\s*\|)+$")
_FENCE = re.compile(r"^(?:```|~~~)\S*$")


class ParsedPrompt(NamedTuple):
    """What a chat asks, and the passages that it offers to answer from, in reading order (source 1 first)."""

    question: str
    context_passages: tuple[str, ...]


class RankedSentence(NamedTuple):
    """A chosen sentence: its position among those given, its text, its cosine similarity to the question."""

    position: int
    text: str
    score: float


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
        return ParsedPrompt(own_format.question, tuple(passage.text for passage in own_format.passages))
    last_user = max((at for at, message in enumerate(messages) if message.get("role") == "user"), default=None)
    passages: list[str] = []
    question = ""
    for at, message in enumerate(messages):
        text = message_text(message)
        if at == last_user:
            question, text = _split_question(text)
        elif message.get("role") in ("system", "developer") and not _is_context(text):
            continue
        passages.extend(text[start:end] for start, end in paragraph_spans(text))
    return ParsedPrompt(question, tuple(passages))


def split_sentences(text: str) -> list[str]:
    """Split ``text`` into sentences in reading order, without list and heading marks and with single spaces.

    The cells of a table row are joined by dashes; a table's header, rules and drawings made of characters are left out.
    """
    sentences = []
    spans = list(sentence_spans(text))
    for at, (start, end) in enumerate(spans):
        if at + 1 < len(spans) and _TABLE_RULE.match(text[spans[at + 1][0] : spans[at + 1][1]].strip()):
            continue
        sentence = " ".join(_LEADING_MARKUP.sub("", text[start:end]).split())
        if sentence.startswith("|"):
            sentence = " – ".join(cell for cell in (part.strip() for part in sentence.split("|")) if cell)
        if _reads_as_text(sentence) and not _FENCE.match(sentence):
            sentences.append(sentence)
    return sentences


def rank_sentences(
    question_vector: npt.ArrayLike,
    sentence_vectors: npt.ArrayLike,
    sentences: Sequence[str],
    k: int,
    *,
    diversity: float = 0.3,
    relative_floor: float = 0.5,
) -> list[RankedSentence]:
    """Choose at most ``k`` sentences that answer the question and do not repeat each other.

    Maximal marginal relevance: Carbonell and Goldstein, "The Use of MMR", SIGIR 1998.

    Args:
        question_vector: shape (d,); any length, it is normalised here.
        sentence_vectors: shape (n, d), in the order of ``sentences``.
        sentences: the n sentences in reading order.
        k: most sentences to choose, > 0.
        diversity: 0 ranks by relevance alone, 1 by novelty alone.
        relative_floor: sentences below this fraction of the best score are left out.

    Returns:
        The chosen sentences in reading order; ties go to the earlier sentence. Empty where none relates to the
        question at all (no similarity above zero).

    Raises:
        ValueError: shapes that do not agree, or k < 1.
    """
    question = np.asarray(question_vector, dtype=np.float32)
    vectors = np.asarray(sentence_vectors, dtype=np.float32)
    if k < 1:
        raise ValueError(f"k is {k}; ask for at least one sentence")
    if not sentences:
        return []
    if question.ndim != 1 or vectors.shape != (len(sentences), question.shape[0]):
        raise ValueError(
            f"{len(sentences)} sentences need vectors of shape ({len(sentences)}, {question.shape[-1]}), "
            f"got {vectors.shape} for a question of shape {question.shape}"
        )
    unit = _normalised(vectors)
    relevance = unit @ _normalised(question[np.newaxis, :])[0]
    floor = relative_floor * float(relevance.max())
    chosen: list[int] = []
    nearest = np.full(len(sentences), -1.0, dtype=np.float32)
    allowed = (relevance >= floor) & (relevance > 0.0)
    while len(chosen) < k and bool(allowed.any()):
        novelty_penalty = np.maximum(nearest, 0.0) if chosen else np.zeros_like(nearest)
        value = (1.0 - diversity) * relevance - diversity * novelty_penalty
        best = int(np.argmax(np.where(allowed, value, -np.inf)))
        chosen.append(best)
        nearest = np.maximum(nearest, unit @ unit[best])
        allowed[best] = False
        allowed &= nearest < DUPLICATE_SIMILARITY
    return [RankedSentence(at, sentences[at], float(relevance[at])) for at in sorted(chosen)]


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


def _reads_as_text(sentence: str) -> bool:
    marks = sum(not character.isspace() for character in sentence)
    return sum(character.isalnum() for character in sentence) >= _LEAST_TEXT * max(1, marks)


def _is_context(system_text: str) -> bool:
    return len(sentence_spans(system_text)) >= _SYSTEM_CONTEXT_SENTENCES


def _normalised(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    # A zero vector stays zero, so its similarity to everything is zero.
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)
