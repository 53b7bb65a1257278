"""The pieces of a passage that an answer can quote: sentences, rows of tables with column heads, lines of code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from sage_libs.markup import plain_text
from sage_libs.sentences import sentence_spans
from sage_libs.tables import is_row, is_rule

_FENCE = re.compile(r"[ \t]*(?:```|~~~)")
_BARE_FENCE = re.compile(r"[ \t]*(?:`{3,}|~{3,})[ \t]*")
_CELL_BREAK = re.compile(r"(?<!\\)\|")
_HEADING = re.compile(r"[ \t]*#{1,6}[ \t]")
_LEADING_MARKUP = re.compile(r"^(?:\s*(?:#{1,6}\s+|[-*+•]\s+|\d{1,3}[.)]\s+|>\s*))+")
_SENTENCE_END = re.compile(r"[.!?:,;]\Z")
_LONGEST_TERM = 60
# Share of letters and digits below which something is a drawing or a rule, not a sentence.
_LEAST_TEXT = 0.6
# Of code that follows a sentence which announces it, so much is quoted with the sentence.
_QUOTED_CODE_LINES = 3


class EvidenceForm(str, Enum):
    """What a piece was in its passage."""

    SENTENCE = "sentence"
    ROW = "row"
    CODE = "code"
    HEADING = "heading"


class Evidence(NamedTuple):
    """A piece of a passage.

    Attributes:
        text: on one line, without markup. A row is its first cell, and each further one after its column's head.
        lead: what stands above it in the passage and it has to be read with: the term that a definition list defines,
            or the head of a table's first column; empty where there is none.
    """

    text: str
    form: EvidenceForm
    lead: str = ""


def evidence_of(text: str) -> list[Evidence]:
    """Return the pieces of a passage of Markdown, reStructuredText or plain text in reading order.

    Drawings, rules and the heads of tables are none. A sentence that ends in a colon takes along the lines of code that
    it announces. A passage may begin in the middle of a fenced block.
    """
    lines = text.split("\n")
    reader = _Reader(in_fence=_begins_in_fence(lines))
    for at, line in enumerate(lines):
        reader.read(line, lines[at + 1] if at + 1 < len(lines) else "")
    reader.end_block()
    return reader.found


def _begins_in_fence(lines: Sequence[str]) -> bool:
    """Return whether the first fence closes a block: it names no language, stands below a line and above none."""
    first = next((at for at, line in enumerate(lines) if _FENCE.match(line)), 0)
    if not first or not _BARE_FENCE.fullmatch(lines[first]) or not lines[first - 1].strip():
        return False
    return first + 1 == len(lines) or not lines[first + 1].strip()


@dataclass(slots=True)
class _Term:
    text: str
    indent: int


class _Reader:
    """Reads a passage line by line."""

    def __init__(self, *, in_fence: bool) -> None:
        self.found: list[Evidence] = []
        self._block: list[str] = []
        self._column_heads: Sequence[str] = ()
        self._term: _Term | None = None
        self._in_fence = in_fence
        # Indentation of the line that announced a literal block, while in one.
        self._literal_above: int | None = None
        self._announced_lines = 0

    def read(self, line: str, following: str) -> None:
        if _FENCE.match(line):
            self.end_block()
            self._in_fence = not self._in_fence
        elif self._in_fence or self._is_literal(line):
            self._add_code(line)
        elif not line.strip():
            self.end_block()
        elif is_row(line):
            self.end_block()
            self._read_row(line, following)
        else:
            self._block.append(line)
            if line.rstrip().endswith("::"):
                self._literal_above = min(_indent(one) for one in self._block)
                self.end_block()

    def end_block(self) -> None:
        """Take the lines since the last blank one as a paragraph."""
        if not self._block:
            return
        block, self._block = self._block, []
        indent = _indent(block[0])
        if self._term is not None and indent <= self._term.indent:
            self._term = None
        if len(block) > 1 and _indent(block[1]) > indent and _is_term(block[0]):
            self._term = _Term(_plain(block[0]), indent)
            block[0] = f"{block[0]}:"
        paragraph = plain_text("\n".join(block))
        self._announced_lines = 0
        for start, end in sentence_spans(paragraph):
            raw = paragraph[start:end]
            form = EvidenceForm.HEADING if _HEADING.match(raw) else EvidenceForm.SENTENCE
            self._add(_one_line(_LEADING_MARKUP.sub("", raw)), form)
        if block[-1].rstrip().endswith(":"):
            self._announced_lines = _QUOTED_CODE_LINES

    def _is_literal(self, line: str) -> bool:
        if self._literal_above is None:
            return False
        if not line.strip() or _indent(line) > self._literal_above:
            return True
        self._literal_above = None
        return False

    def _add_code(self, line: str) -> None:
        if not line.strip():
            return
        if self._announced_lines and self.found and self.found[-1].form is EvidenceForm.SENTENCE:
            self._announced_lines -= 1
            self.found[-1] = self.found[-1]._replace(text=f"{self.found[-1].text} {_one_line(line)}")
            return
        self._add(_one_line(line), EvidenceForm.CODE)

    def _read_row(self, line: str, following: str) -> None:
        if is_rule(line):
            return
        cells = [_plain(cell) for cell in _CELL_BREAK.split(line.strip().strip("|"))]
        if is_rule(following):
            self._column_heads = cells
            return
        heads = [*self._column_heads, *[""] * len(cells)]
        first = next((at for at, cell in enumerate(cells) if cell), None)
        if first is None:
            return
        others = [f"{heads[at]}: {cell}" if heads[at] else cell for at, cell in enumerate(cells) if at > first and cell]
        text = cells[first] + (f" – {'; '.join(others)}" if others else "")
        self._add(text, EvidenceForm.ROW, heads[first])

    def _add(self, text: str, form: EvidenceForm, lead: str = "") -> None:
        text = text.strip()
        marks = sum(not character.isspace() for character in text)
        if sum(character.isalnum() for character in text) < _LEAST_TEXT * max(1, marks):
            return
        if not lead and self._term is not None and not text.startswith(self._term.text):
            lead = self._term.text
        self.found.append(Evidence(text, form, lead))


def _is_term(line: str) -> bool:
    term = line.strip()
    return len(term) <= _LONGEST_TERM and not _SENTENCE_END.search(term) and not _LEADING_MARKUP.match(line)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _plain(text: str) -> str:
    return _one_line(plain_text(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())
