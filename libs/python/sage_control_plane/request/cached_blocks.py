"""What an engine's server says of its prefix cache. See ``sage.inference.v1.CachedBlocks``."""

from __future__ import annotations

from sage_common.value_type import value_type


@value_type
class CachedBlocks:
    """Prompt blocks that an engine has cached: all from the beginning, or what changed since the message before.

    Attributes:
        account: names this account of its cache; 0 where the cache is not known any more.
        sequence: counts the account's messages from 1.
        whole: whether what no message has stored from here on is not in the cache.
        stored, removed: blocks that came and that left.
    """

    engine_id: str
    account: int
    sequence: int = 1
    whole: bool = False
    stored: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
