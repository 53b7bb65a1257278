"""vLLM's events of its KV cache, as it publishes them: msgpack over ZMQ.

Each message is ``(topic, sequence number as 8 bytes big-endian, batch)``; a batch is ``[time, events, data parallel
rank]``. Events are maps with a ``type``, in older versions arrays that begin with it; fields that are not known here
are passed over, so that those of later versions do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

# A block of the cache, as the server names it: a number, or the bytes of a hash.
BlockName = int | bytes

_STORED_FIELDS: Final = (
    "block_hashes",
    "parent_block_hash",
    "token_ids",
    "block_size",
    "lora_id",
    "medium",
    "lora_name",
    "extra_keys",
    "group_idx",
)
_REMOVED_FIELDS: Final = ("block_hashes", "medium", "group_idx")
# Tiers behind the cache that answers are computed from; what is there has to be brought back first.
_SLOWER: Final = frozenset({"CPU", "STORAGE"})


@dataclass(frozen=True, slots=True)
class BlocksStored:
    """Blocks that came into the cache, one after the other.

    Attributes:
        parent: the block before the first; None for the beginning of a prompt.
        token_ids: of all blocks, ``block_tokens`` for each.
        adapter: LoRA adapter that they were computed with; empty for none.
        extra: for each block what tells it from others of the same tokens, such as an image; None for nothing.
    """

    blocks: tuple[BlockName, ...]
    parent: BlockName | None
    token_ids: Sequence[int]
    block_tokens: int
    adapter: str = ""
    extra: Sequence[object] | None = None


@dataclass(frozen=True, slots=True)
class BlocksRemoved:
    """Blocks that left the cache."""

    blocks: tuple[BlockName, ...]


@dataclass(frozen=True, slots=True)
class CacheCleared:
    """Nothing is in the cache any more."""


@dataclass(frozen=True, slots=True)
class FeedAddress:
    """Where a server publishes.

    Attributes:
        events: ZMQ address of its PUB socket, e.g. ``tcp://127.0.0.1:5557``.
        replay: of its ROUTER socket, which repeats what was missed; empty for none.
    """

    events: str
    replay: str = ""


KvEvent = BlocksStored | BlocksRemoved | CacheCleared


def read_batch(batch: Any) -> list[KvEvent]:
    """Read a decoded batch.

    Returns:
        Its events in order, without those of slower tiers and of further groups of layers (sliding windows keep less).

    Raises:
        ValueError: it is no batch of events, or one of them lacks what it must have.
    """
    if not isinstance(batch, Sequence) or len(batch) < 2 or not isinstance(batch[1], Sequence):
        raise ValueError("not a batch of KV cache events")
    events = []
    for value in batch[1]:
        event = _read_event(value)
        if event is not None:
            events.append(event)
    return events


def _read_event(value: Any) -> KvEvent | None:
    if isinstance(value, Mapping):
        kind, fields = value.get("type"), value
    elif isinstance(value, Sequence) and value and not isinstance(value, (str, bytes)):
        kind, rest = value[0], value[1:]
        names = _STORED_FIELDS if kind == "BlockStored" else _REMOVED_FIELDS
        fields = dict(zip(names, rest, strict=False))
    else:
        raise ValueError("a KV cache event is neither a map nor an array")
    if kind == "AllBlocksCleared":
        return CacheCleared()
    if kind not in ("BlockStored", "BlockRemoved") or fields.get("medium") in _SLOWER or fields.get("group_idx"):
        return None
    blocks = fields.get("block_hashes")
    if not isinstance(blocks, Sequence) or not all(isinstance(block, (int, bytes)) for block in blocks):
        raise ValueError(f"a {kind} event without the names of its blocks")
    if kind == "BlockRemoved":
        return BlocksRemoved(tuple(blocks))
    tokens, size = fields.get("token_ids"), fields.get("block_size")
    if not isinstance(tokens, Sequence) or not isinstance(size, int) or size <= 0:
        raise ValueError("a BlockStored event without its tokens or the size of its blocks")
    parent, extra = fields.get("parent_block_hash"), fields.get("extra_keys")
    if parent is not None and not isinstance(parent, (int, bytes)):
        raise ValueError("a BlockStored event whose parent is no block")
    return BlocksStored(
        tuple(blocks),
        parent,
        tokens,
        size,
        str(fields.get("lora_name") or ""),
        extra if isinstance(extra, Sequence) else None,
    )
