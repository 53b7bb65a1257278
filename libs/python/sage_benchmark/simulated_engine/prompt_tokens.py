"""The tokens of a simulated prompt: it has none of its own, so each block's are made of its chained hash.

The same beginnings so have the same tokens, and others have others.
"""

from __future__ import annotations

from collections.abc import Sequence


def block_token_ids(block: int, block_tokens: int) -> list[int]:
    """Return the token ids of a block."""
    return [(block * (place + 1) >> 16) & 0x7FFFFFFF for place in range(block_tokens)]


def prompt_token_ids(blocks: Sequence[int], input_tokens: int, block_tokens: int) -> list[int]:
    """Return the token ids of a prompt: those of its whole blocks, and what is left of it."""
    ids = [token for block in blocks for token in block_token_ids(block, block_tokens)]
    return ids + [0] * min(block_tokens - 1, max(0, input_tokens - len(ids)))
