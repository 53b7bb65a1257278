"""Which prompt blocks an engine holds: its server's events, joined with the prompts that were sent to it. Pure.

The server names its blocks by hashes of its own over token ids; a scheduler knows prompts by hashes of their text
(``sage_control_plane.request.features``). What joins them are the token ids that the server returns for a prompt: they
give its blocks, by chained hashes over the same ids, and the end of a block of text lies in the block of tokens at the
same share of the prompt. Whether a block of tokens is there is exact; where a block of text ends within the prompt is
exact at both ends, and off by what the text's density of tokens varies between.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

from sage_llm_coordinator.kv_cache.kv_events import BlockName, BlocksRemoved, BlocksStored, KvEvent

# Of a server with more, the oldest count as gone.
MOST_BLOCKS: Final = 262_144
# Blocks of text that are followed; 2 million tokens of prompts.
MOST_TEXTS: Final = 32_768
# Prompts that are kept until the first event tells how long blocks are; it may come after their answers.
MOST_EARLY: Final = 16


class BlockAccount:
    """One server's cache.

    Chains are hashes of this process over the tokens of a block and all before it.
    """

    def __init__(self, most_blocks: int = MOST_BLOCKS, most_texts: int = MOST_TEXTS) -> None:
        self._most_blocks = most_blocks
        self._most_texts = most_texts
        self._block_tokens: int | None = None
        self._early: deque[tuple[Sequence[int], bytes, str]] = deque(maxlen=MOST_EARLY)
        self._adapters: set[str] = set()
        self._chain_of: OrderedDict[BlockName, int] = OrderedDict()
        # How many of the server's blocks are of a chain; it may hold equal blocks twice.
        self._held: dict[int, int] = {}
        self._chain_of_text: OrderedDict[int, int] = OrderedDict()
        self._texts_of: dict[int, list[int]] = {}
        self._changes: dict[int, bool] = {}

    def __len__(self) -> int:
        """Blocks that the server holds."""
        return len(self._chain_of)

    def held(self) -> list[int]:
        """Return the blocks of text that are in the cache, the oldest first."""
        return [text for text, chain in self._chain_of_text.items() if chain in self._held]

    def changes(self, most: int) -> tuple[list[int], list[int]]:
        """Return blocks of text that came and that left since the last call, at most so many together."""
        stored: list[int] = []
        removed: list[int] = []
        for text in list(self._changes)[:most]:
            (stored if self._changes.pop(text) else removed).append(text)
        return stored, removed

    @property
    def has_changes(self) -> bool:
        """Whether there are changes to return."""
        return bool(self._changes)

    def drop_changes(self) -> None:
        """Forget the changes: whoever is told next is told the whole."""
        self._changes.clear()

    # What the server tells

    def take(self, event: KvEvent) -> None:
        """Take in an event. Blocks whose beginning is not known are passed over: nobody could ask for them."""
        if isinstance(event, BlocksStored):
            self._store(event)
            while self._early:
                self._join_prompt(*self._early.popleft())
        elif isinstance(event, BlocksRemoved):
            for block in event.blocks:
                self._remove(block)
        else:
            self.clear()

    def clear(self) -> None:
        """The cache is empty, or what was known of it does not hold any more."""
        for text, chain in self._chain_of_text.items():
            if chain in self._held:
                self._changes[text] = False
        self._chain_of.clear()
        self._held.clear()

    def _store(self, event: BlocksStored) -> None:
        size = self._block_tokens = event.block_tokens
        if event.adapter:
            self._adapters.add(event.adapter)
        chain = _beginning(event.adapter) if event.parent is None else self._chain_of.get(event.parent)
        if chain is None:
            return
        tokens, extra = _packed(event.token_ids), event.extra
        for number, block in enumerate(event.blocks):
            piece = tokens[4 * size * number : 4 * size * (number + 1)]
            if len(piece) < 4 * size:
                return
            chain = hash((chain, piece, _told_apart(extra, number, event.adapter)))
            if block not in self._chain_of:
                self._chain_of[block] = chain
                self._hold(chain)
        while len(self._chain_of) > self._most_blocks:
            self._remove(next(iter(self._chain_of)))

    def _hold(self, chain: int) -> None:
        count = self._held.get(chain, 0)
        self._held[chain] = count + 1
        if not count:
            for text in self._texts_of.get(chain, ()):
                self._changes[text] = True

    def _remove(self, block: BlockName) -> None:
        chain = self._chain_of.pop(block, None)
        if chain is None:
            return
        count = self._held[chain] - 1
        if count:
            self._held[chain] = count
            return
        del self._held[chain]
        for text in self._texts_of.get(chain, ()):
            self._changes[text] = False

    # What was sent to it

    def prompt(self, texts: Sequence[int], token_ids: Sequence[int], model: str = "") -> None:
        """Take in a prompt that the server has got.

        Args:
            texts: its blocks of text, chained hashes.
            token_ids: all of them, as the server has it.
            model: that it was for. Where it is a LoRA adapter, events have its name, and its blocks are its own.
        """
        if not texts:
            return
        tokens = _packed(token_ids)
        if self._block_tokens is None:
            self._early.append((texts, tokens, model))
        else:
            self._join_prompt(texts, tokens, model)

    def _join_prompt(self, texts: Sequence[int], tokens: bytes, model: str) -> None:
        size, count = self._block_tokens, len(tokens) // 4
        whole = count // size if size else 0
        if size is None or not whole:
            return
        chains = []
        chain = _beginning(model if model in self._adapters else "")
        for number in range(whole):
            chain = hash((chain, tokens[4 * size * number : 4 * size * (number + 1)], None))
            chains.append(chain)
        # Only full blocks of text are counted; of the one that has begun there is a half, for all that is known.
        tokens_per_text = count / (len(texts) + 0.5)
        # The last one first, so that the end of a prompt is forgotten before its beginning, which others may share.
        for number in range(len(texts), 0, -1):
            last = min(whole, max(1, round(number * tokens_per_text / size))) - 1
            self._join(texts[number - 1], chains[last])
        while len(self._chain_of_text) > self._most_texts:
            text, chain = self._chain_of_text.popitem(last=False)
            self._part(text, chain)
            if chain in self._held:
                self._changes[text] = False

    def _join(self, text: int, chain: int) -> None:
        known = self._chain_of_text.get(text)
        self._chain_of_text[text] = chain if known is None or known not in self._held else known
        self._chain_of_text.move_to_end(text)
        if known == chain or known in self._held:
            return
        if known is not None:
            self._part(text, known)
        self._texts_of.setdefault(chain, []).append(text)
        # One that is not there is said to have left: a scheduler expects it there since it sent the prompt.
        self._changes[text] = chain in self._held

    def _part(self, text: int, chain: int) -> None:
        texts = self._texts_of[chain]
        texts.remove(text)
        if not texts:
            del self._texts_of[chain]


def _packed(token_ids: Sequence[int]) -> bytes:
    return array("I", token_ids).tobytes()


def _beginning(adapter: str) -> int:
    return hash(("prompt", adapter))


def _told_apart(extra: Sequence[object] | None, number: int, adapter: str) -> str | None:
    """What makes a block another than its tokens alone say; the adapter is in its beginning already."""
    keys = extra[number] if extra is not None and number < len(extra) else None
    if keys is None:
        return None
    others = [key for key in keys if key != adapter] if isinstance(keys, (list, tuple)) else [keys]
    return repr(others) if others else None
