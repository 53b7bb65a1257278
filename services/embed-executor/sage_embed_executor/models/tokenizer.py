"""Texts to token ids, as sentence-transformers does it, with Hugging Face ``tokenizers``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from sage_common.errors import ConfigurationError, InvalidRequestError

# One input's tokens, shape (tokens,), special tokens included.
TokenIds = npt.NDArray[np.int32]
TruncationSide = Literal["left", "right"]

_PROBE = "a"


class TextTokenizer:
    """Turns texts into token ids that fit the model. Thread-safe; long inputs release the interpreter's lock."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        # The file's own truncation and padding are training settings; the limits here are the caller's.
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
        return [ids for ids, _ in self.encode_counted(texts, max_tokens, side)]

    def encode_counted(
        self, texts: Sequence[str], max_tokens: int, side: TruncationSide = "right"
    ) -> list[tuple[TokenIds, int]]:
        """Tokenise texts; return each result with the number of tokens that it has uncut."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._frame(encoding.ids, max_tokens, side) for encoding in encodings]

    def tell(self, text: str, *, add_special_tokens: bool) -> tuple[list[int], list[str]]:
        """Return the ids of a text's tokens, and the tokens as the vocabulary writes them; nothing is cut."""
        encoding = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return encoding.ids, encoding.tokens

    def text_of(self, ids: Sequence[int]) -> str:
        """Return the text of tokens, special ones included. Raises InvalidRequestError for one that is unknown."""
        size = self._tokenizer.get_vocab_size()
        for place, token in enumerate(ids):
            if not 0 <= token < size:
                raise InvalidRequestError(
                    f"'tokens[{place}]' is {token}; the model's tokens are from 0 to {size - 1}",
                    param=f"tokens[{place}]",
                )
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def encode_pairs(
        self, query: str, documents: Sequence[str], max_tokens: int
    ) -> list[tuple[TokenIds, TokenIds, int]]:
        """Tokenise pairs for a cross-encoder; return ids, the segment of each id, and the number of tokens uncut.

        A pair that is too long is cut at the end of its document, as ``truncation="only_second"`` does in transformers.

        Raises:
            InvalidRequestError: the query leaves no room for a document.
        """
        framed = self._tokenizer.encode_batch([(query, document) for document in documents])
        alone = self._tokenizer.encode(query, add_special_tokens=False).ids
        room = max_tokens - self.pair_special_tokens
        if len(alone) >= room:
            # No token of a document would be left.
            raise InvalidRequestError(
                f"'query' has {len(alone)} tokens; the model takes {max_tokens} for query and document together",
                code="input_too_long",
                param="query",
            )
        return [_cut_pair(encoding, max_tokens) for encoding in framed]

    @property
    def pair_special_tokens(self) -> int:
        """Tokens that a pair carries beside those of its two texts."""
        return int(self._tokenizer.num_special_tokens_to_add(True))

    def frame(self, ids: Sequence[int], max_tokens: int, side: TruncationSide = "right") -> TokenIds:
        """Return given token ids as an input: cut, with special tokens added where they are missing."""
        return self.frame_counted(ids, max_tokens, side)[0]

    def frame_counted(
        self, ids: Sequence[int], max_tokens: int, side: TruncationSide = "right"
    ) -> tuple[TokenIds, int]:
        """Return given token ids as an input, with the number of tokens that it has uncut."""
        given = list(ids)
        start, end = len(self._prefix), len(given) - len(self._suffix)
        if start <= end and given[:start] == self._prefix and given[end:] == self._suffix:
            given = given[start:end]
        return self._frame(given, max_tokens, side)

    def _frame(self, ids: list[int], max_tokens: int, side: TruncationSide) -> tuple[TokenIds, int]:
        whole = len(ids) + self.special_tokens
        room = max_tokens - self.special_tokens
        if len(ids) > room:
            ids = ids[:room] if side == "right" else ids[len(ids) - room :]
        return np.array([*self._prefix, *ids, *self._suffix], dtype=np.int32), whole


def _cut_pair(encoding: Encoding, max_tokens: int) -> tuple[TokenIds, TokenIds, int]:
    """Remove tokens from the document's end until the pair fits; the special tokens after it stay."""
    ids, segments, special = encoding.ids, encoding.type_ids, encoding.special_tokens_mask
    excess = len(ids) - max_tokens
    if excess > 0:
        tail = len(ids)
        while special[tail - 1]:
            tail -= 1
        ids = ids[: tail - excess] + ids[tail:]
        segments = segments[: tail - excess] + segments[tail:]
    return np.array(ids, dtype=np.int32), np.array(segments, dtype=np.int32), len(encoding.ids)


def _specials(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the token ids that the tokenizer puts before and after a text."""
    bare = tokenizer.encode(_PROBE, add_special_tokens=False).ids
    full = tokenizer.encode(_PROBE).ids
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start], full[start + len(bare) :]
    raise ConfigurationError(f"the tokenizer changes a text's own tokens when it adds special ones: {bare} to {full}")
