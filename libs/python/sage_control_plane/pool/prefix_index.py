"""Which engines have which prompt prefixes cached: judged by the dispatches to them, or as their servers tell."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from sage_control_plane.pool.kept_answers import KeptAnswers
from sage_control_plane.pool.recent_prompts import RecentPrompts
from sage_control_plane.pool.session_index import SessionIndex
from sage_control_plane.request.cached_blocks import CachedBlocks
from sage_control_plane.request.request import PendingRequest


class PrefixMatch(NamedTuple):
    """What an engine should have cached of a prompt.

    Attributes:
        share: of the prompt, 0 to 1.
        branches: whether prompts went on from there in several ways, or several ended there: a beginning that many
            share, such as a system prompt, rather than the conversation that this request goes on with.
    """

    share: float
    branches: bool = False


NO_MATCH: Final = PrefixMatch(0.0)
# What comes after a block: nothing yet, or this and that. Hashes are not negative.
_END: Final = -1
_SEVERAL: Final = -2
# Blocks remembered of an engine that tells which it has.
MOST_REPORTED = 32_768


class PrefixIndex:
    """Prompt blocks by engine, and for each block the engine that it was last dispatched to; and stopped answers.

    Block hashes cover everything before them, so a match of one implies a match of all before it.

    An engine that tells what it has cached (``report``) is taken at its word. What is dispatched to it counts from the
    dispatch on all the same, since its word comes when the prompt is computed.

    Args:
        blocks_per_engine: blocks remembered of an engine; 8,192 of 64 tokens are 524,288 tokens of KV cache.

    Attributes:
        kept: answers that were stopped, and how much of one an engine computes again.
        recent: what engines were given to compute of late.
        sessions: which engine each session was last dispatched to.
    """

    def __init__(self, blocks_per_engine: int = 8_192) -> None:
        self.kept = KeptAnswers()
        self.recent = RecentPrompts()
        self.sessions = SessionIndex()
        self._most = blocks_per_engine
        # Of each block the one after it; or that a prompt ended with it, or that several went on otherwise.
        self._blocks: dict[str, OrderedDict[int, int]] = {}
        self._latest: dict[int, str] = {}
        # Of each engine that tells: the account, and its last message.
        self._accounts: dict[str, tuple[int, int]] = {}
        # Each scorer asks, of the same request and engines.
        self._asked: PendingRequest | None = None
        self._matches: dict[str, PrefixMatch] = {}

    def matched(self, engine_id: str, request: PendingRequest) -> float:
        """Return the share of the request's prompt, 0 to 1, that the engine should have cached."""
        return self.match(engine_id, request).share

    def match(self, engine_id: str, request: PendingRequest) -> PrefixMatch:
        """Return what the engine should have cached of the request's prompt."""
        classification = request.classification
        if request.interrupted:
            kept = self.kept.get(request.request_id)
            if kept is not None and kept.engine_id == engine_id:
                return PrefixMatch(1.0 - self.kept.recomputed_share(engine_id, classification.model))
        blocks = classification.prefix_blocks
        if not blocks:
            return NO_MATCH
        if request is not self._asked:
            self._asked, self._matches = request, {}
        known = self._matches.get(engine_id)
        if known is None:
            known = self._matches[engine_id] = self._find(engine_id, blocks)
        return known

    def _find(self, engine_id: str, blocks: tuple[int, ...]) -> PrefixMatch:
        cached = self._blocks.get(engine_id)
        if not cached or blocks[0] not in cached:
            return NO_MATCH
        matched = 0
        for block in blocks:
            if block not in cached:
                break
            matched += 1
        following = cached[blocks[matched - 1]]
        turns_off = matched < len(blocks) and following not in (_END, blocks[matched])
        return PrefixMatch(matched / len(blocks), following == _SEVERAL or turns_off)

    def latest(self, request: PendingRequest) -> str | None:
        """Return the engine that last got the longest known prefix of the prompt; None without one. O(blocks).

        Of an answer that was stopped, it is the one that has computed it.
        """
        if request.interrupted and (kept := self.kept.get(request.request_id)) is not None:
            return kept.engine_id
        for block in reversed(request.classification.prefix_blocks):
            engine_id = self._latest.get(block)
            if engine_id is not None:
                return engine_id
        return None

    def add(self, engine_id: str, request: PendingRequest) -> None:
        """Note that the request is dispatched to the engine."""
        self.sessions.add(request.classification.session, engine_id)
        blocks = request.classification.prefix_blocks
        if not blocks:
            return
        self._asked = None
        cached = self._blocks.setdefault(engine_id, OrderedDict())
        # The last block first, so that a prompt's end is evicted before its beginning, which others may share.
        following = _END
        for block in reversed(blocks):
            known = cached.get(block)
            if known is None or (known == _END and following != _END):
                cached[block] = following
            elif known != following or following == _END:
                cached[block] = known if following == _END and known != _END else _SEVERAL
            following = block
            cached.move_to_end(block)
            self._latest[block] = engine_id
        self._trim(engine_id, cached)

    def report(self, blocks: CachedBlocks) -> bool:
        """Take in what an engine tells; return whether that follows on what it told before.

        If not, the account is not gone by any more until it begins again: ask for the whole of it.
        """
        engine_id, account = blocks.engine_id, blocks.account
        self._asked = None
        if not account:
            # Its server is gone, most likely with its cache.
            self._accounts.pop(engine_id, None)
            self._forget_blocks(engine_id)
            return True
        known, last = self._accounts.get(engine_id, (0, 0))
        if blocks.whole:
            self._forget_blocks(engine_id)
        elif known != account or blocks.sequence > last + 1:
            self._accounts.pop(engine_id, None)
            return False
        elif blocks.sequence <= last:
            return True
        self._accounts[engine_id] = account, blocks.sequence
        cached = self._blocks.setdefault(engine_id, OrderedDict())
        for block in blocks.removed:
            if cached.pop(block, None) is not None and self._latest.get(block) == engine_id:
                del self._latest[block]
        for block in blocks.stored:
            if block not in cached:
                cached[block] = _END
                self._latest.setdefault(block, engine_id)
        self._trim(engine_id, cached)
        return True

    def tells(self, engine_id: str) -> bool:
        """Return whether the engine tells what it has cached."""
        return engine_id in self._accounts

    def remove(self, engine_id: str) -> None:
        """Remove an engine with its cache."""
        self.kept.remove(engine_id)
        self.recent.remove(engine_id)
        self._accounts.pop(engine_id, None)
        self._forget_blocks(engine_id)

    def _forget_blocks(self, engine_id: str) -> None:
        self._asked = None
        for block in self._blocks.pop(engine_id, ()):
            if self._latest.get(block) == engine_id:
                del self._latest[block]

    def _trim(self, engine_id: str, cached: OrderedDict[int, int]) -> None:
        most = MOST_REPORTED if engine_id in self._accounts else self._most
        while len(cached) > most:
            block = cached.popitem(last=False)[0]
            if self._latest.get(block) == engine_id:
                del self._latest[block]
