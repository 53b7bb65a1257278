"""Texts to token ids, as sentence-transformers does it, with Hugging Face ``tokenizers``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from sage_common.errors import ConfigurationError

# One input's tokens, shape (tokens,), special tokens included.
TokenIds = npt.NDArray[np.int32]
TruncationSide = Literal["left", "right"]

_PROBE = "a"


class TextTokenizer:
    """Turns texts into token ids that fit the model. Thread-safe; long inputs release the interpreter's lock."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        # The file's own truncation and padding are training settings; limits are ours to apply.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._prefix, self._suffix = _specials(tokenizer)

    @classmethod
    def load(cls, folder: Path) -> TextTokenizer:
        """Read ``tokenizer.json``. Raises ConfigurationError when it is missing or broken."""
        file = folder / "tokenizer.json"
        if not file.exists():
            raise ConfigurationError(f"{file} is missing; save the model with a fast tokenizer (save_pretrained does)")
        try:
            return cls(Tokenizer.from_file(str(file)))
        except ConfigurationError:
            raise
        except Exception as error:  # tokenizers raises bare Exception
            raise ConfigurationError(f"cannot read {file}: {error}") from None

    @property
    def special_tokens(self) -> int:
        """Tokens that every input carries beside its own."""
        return len(self._prefix) + len(self._suffix)

    def encode(self, texts: Sequence[str], max_tokens: int, side: TruncationSide = "right") -> list[TokenIds]:
        """Tokenise texts; each result has at most ``max_tokens`` tokens, cut on ``side``."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._frame(encoding.ids, max_tokens, side) for encoding in encodings]

    def frame(self, ids: Sequence[int], max_tokens: int, side: TruncationSide = "right") -> TokenIds:
        """Make given token ids an input: special tokens are added where the caller left them out."""
        given = list(ids)
        start, end = len(self._prefix), len(given) - len(self._suffix)
        if start <= end and given[:start] == self._prefix and given[end:] == self._suffix:
            given = given[start:end]
        return self._frame(given, max_tokens, side)

    def _frame(self, ids: list[int], max_tokens: int, side: TruncationSide) -> TokenIds:
        room = max_tokens - self.special_tokens
        if len(ids) > room:
            ids = ids[:room] if side == "right" else ids[len(ids) - room :]
        return np.array([*self._prefix, *ids, *self._suffix], dtype=np.int32)


def _specials(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Token ids that the tokenizer puts before and after a text."""
    bare = tokenizer.encode(_PROBE, add_special_tokens=False).ids
    full = tokenizer.encode(_PROBE).ids
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start], full[start + len(bare) :]
    raise ConfigurationError(f"the tokenizer changes a text's own tokens when it adds special ones: {bare} to {full}")
