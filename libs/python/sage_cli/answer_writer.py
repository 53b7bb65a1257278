"""Writes an answer to stdout as it is made; on a terminal lines break between words."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

from rich.cells import cell_len


class AnswerWriter:
    """Takes pieces of a text, which may begin and end within words.

    On a terminal a word is held until what follows it has come, so that one that has no room goes to the next line as a
    whole. Where ``out`` is a file or a pipe, pieces are written as they are.

    Args:
        columns: width of the terminal; None writes pieces as they are.
    """

    def __init__(self, out: TextIO, columns: int | None) -> None:
        self._out = out
        self._columns = columns
        self._column = 0
        self._spaces = ""
        self._word = ""

    def write(self, piece: str) -> None:
        """Write what of the text is ready for it, and flush."""
        if self._columns is None:
            self._out.write(piece)
        else:
            for character in piece:
                self._take(character, self._columns)
        self._out.flush()

    def end(self) -> None:
        """Write what was held, and end the line."""
        if self._columns is not None:
            self._place(self._columns)
        self._out.write("\n")
        self._out.flush()
        self._column, self._spaces = 0, ""

    def _take(self, character: str, columns: int) -> None:
        if character == "\n":
            self._place(columns)
            self._out.write("\n")
            self._column, self._spaces = 0, ""
        elif character in " \t":
            self._place(columns)
            self._spaces += character
        else:
            self._word += character
            # Scripts with wide characters put no spaces between words. A longer word breaks where the terminal does it.
            if cell_len(character) > 1 or cell_len(self._word) >= columns:
                self._place(columns)

    def _place(self, columns: int) -> None:
        if not self._word:
            return
        width = cell_len(self._word)
        if self._column and self._column + len(self._spaces) + width > columns:
            self._out.write("\n")
            self._column = 0
        else:
            self._out.write(self._spaces)
            self._column += len(self._spaces)
        self._out.write(self._word)
        self._column += width
        self._spaces = self._word = ""


def answer_writer() -> AnswerWriter:
    """Return one for stdout, as wide as the terminal is now."""
    return AnswerWriter(sys.stdout, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
