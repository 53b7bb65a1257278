"""What schedulers are told of a cache: the whole once, then changes, and the whole again for whoever asks."""

from __future__ import annotations

import pytest
from fixtures.eventually import eventually

from sage_control_plane.request.cached_blocks import CachedBlocks
from sage_llm_coordinator.kv_cache import account_sender
from sage_llm_coordinator.kv_cache.account_sender import AccountSender
from sage_llm_coordinator.kv_cache.block_account import BlockAccount
from sage_llm_coordinator.kv_cache.kv_events import BlocksRemoved, BlocksStored


class Sent:
    """Messages, and what a reader knows after them."""

    def __init__(self) -> None:
        self.messages: list[CachedBlocks] = []
        self.known: set[int] = set()

    def take(self, message: CachedBlocks) -> None:
        self.messages.append(message)
        if message.whole or not message.account:
            self.known.clear()
        self.known -= set(message.removed)
        self.known |= set(message.stored)


def prompt(account: BlockAccount, number: int) -> None:
    """A prompt of one block of text and two of tokens."""
    tokens = [number, number, number, number]
    account.take(BlocksStored((2 * number, 2 * number + 1), None, tokens, 2))
    account.prompt([number], tokens)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_sender, "SEND_SECONDS", 0.0)


async def test_an_account_begins_whole_and_goes_on_with_changes() -> None:
    account, sent = BlockAccount(), Sent()
    sender = AccountSender("e", account, sent.take)
    prompt(account, 1)
    sender.changed()
    sender.changed()
    await eventually(lambda: len(sent.messages) == 1)
    prompt(account, 2)
    account.take(BlocksRemoved((2, 3)))
    sender.changed()
    await eventually(lambda: len(sent.messages) == 2)
    first, second = sent.messages
    assert (first.whole, first.sequence, first.stored) == (True, 1, (1,))
    assert (second.whole, second.sequence, second.stored, second.removed) == (False, 2, (2,), (1,))
    assert first.account == second.account != 0
    sender.changed()
    assert len(sent.messages) == 2, "nothing has changed"


async def test_who_asks_is_told_the_whole_in_parts_and_what_changes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_sender, "MOST_BLOCKS_SENT", 2)
    account, sent = BlockAccount(), Sent()
    sender = AccountSender("e", account, sent.take)
    sender.tell_whole()
    for number in range(1, 6):
        prompt(account, number)
    sender.changed()
    await eventually(lambda: sent.known == {1, 2, 3, 4, 5})
    sent.messages.clear()
    sender.tell_whole()
    await eventually(lambda: len(sent.messages) >= 1)
    account.take(BlocksRemoved((10, 11)))
    prompt(account, 7)
    sender.changed()
    await eventually(lambda: sent.known == {1, 2, 3, 4, 7})
    assert [message.whole for message in sent.messages][:2] == [True, False]
    sequences = [message.sequence for message in sent.messages]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


async def test_a_cache_that_is_not_known_any_more_is_said_to_be_so_at_once_and_has_another_account_later() -> None:
    account, sent = BlockAccount(), Sent()
    sender = AccountSender("e", account, sent.take)
    sender.lost()
    assert sent.messages == [], "nobody was told anything"
    prompt(account, 1)
    sender.changed()
    await eventually(lambda: len(sent.messages) == 1)
    sender.lost()
    assert sent.messages[-1] == CachedBlocks("e", 0)
    sender.tell_whole()
    prompt(account, 2)
    sender.changed()
    await eventually(lambda: len(sent.messages) == 3)
    assert sent.messages[-1].account not in (0, sent.messages[0].account)
    assert (sent.messages[-1].whole, sent.messages[-1].sequence) == (True, 1)
