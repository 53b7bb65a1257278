"""Events of a server and the prompts that it got come to the blocks of text that it holds."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from sage_llm_coordinator.kv_cache.block_account import MOST_EARLY, BlockAccount
from sage_llm_coordinator.kv_cache.kv_events import BlocksRemoved, BlocksStored, CacheCleared

SIZE = 4


def names(tokens: Sequence[int], adapter: str = "") -> list[bytes]:
    """The server's own names of the full blocks of a prompt."""
    return [repr((adapter, list(tokens[: end + SIZE]))).encode() for end in range(0, len(tokens) - SIZE + 1, SIZE)]


def stored(tokens: Sequence[int], start: int = 0, adapter: str = "", extra: object = None) -> BlocksStored:
    """The event for the blocks of a prompt from one on."""
    blocks = names(tokens, adapter)
    parent = blocks[start - 1] if start else None
    keys = None if extra is None else [extra] * (len(blocks) - start)
    return BlocksStored(tuple(blocks[start:]), parent, tokens[start * SIZE : len(blocks) * SIZE], SIZE, adapter, keys)


def removed(tokens: Sequence[int], *which: int) -> BlocksRemoved:
    blocks = names(tokens)
    return BlocksRemoved(tuple(blocks[number] for number in which))


PROMPT = list(range(100, 117))  # 4 blocks of tokens and one over
TEXTS = [11, 12, 13, 14]


def test_a_prompt_whose_blocks_the_server_has_stored_is_held_whole() -> None:
    account = BlockAccount()
    account.take(stored(PROMPT))
    account.prompt(TEXTS, PROMPT)
    assert set(account.held()) == set(TEXTS)
    assert account.changes(10) == ([14, 13, 12, 11], [])
    assert not account.has_changes


def test_what_the_server_stores_after_it_has_got_the_prompt_is_joined_too() -> None:
    account = BlockAccount()
    account.take(stored([7, 7, 7, 7]))
    account.prompt(TEXTS, PROMPT)
    assert account.changes(10) == ([], [14, 13, 12, 11]), "a scheduler presumes them, and they are not there"
    account.take(stored(PROMPT))
    assert set(account.changes(10)[0]) == set(TEXTS)


def test_prompts_that_came_before_the_first_event_are_joined_with_it() -> None:
    account = BlockAccount()
    account.prompt([21], [7, 7, 7, 7, 7])
    account.prompt(TEXTS, PROMPT)
    assert not account.has_changes
    account.take(stored([7, 7, 7, 7]))
    assert set(account.held()) == {21}
    account.take(stored(PROMPT))
    assert set(account.held()) == {21, *TEXTS}
    assert set(account.changes(10)[0]) == {21, *TEXTS}


def test_only_the_last_prompts_before_the_first_event_are_kept() -> None:
    account = BlockAccount()
    for number in range(MOST_EARLY + 1):
        account.prompt([number], [number] * SIZE)
    for number in range(MOST_EARLY + 1):
        account.take(stored([number] * SIZE))
    assert set(account.held()) == set(range(1, MOST_EARLY + 1))


def test_the_end_of_a_prompt_that_is_evicted_leaves_its_beginning() -> None:
    account = BlockAccount()
    account.take(stored(PROMPT))
    account.prompt(TEXTS, PROMPT)
    account.changes(10)
    account.take(removed(PROMPT, 3, 2))
    came, left = account.changes(10)
    assert not came
    assert set(left) == {13, 14}
    assert set(account.held()) == {11, 12}
    account.take(stored(PROMPT, 2))
    assert set(account.changes(10)[0]) == {13, 14}


def test_a_cleared_cache_holds_nothing_and_what_was_joined_comes_back_with_it() -> None:
    account = BlockAccount()
    account.take(stored(PROMPT))
    account.prompt(TEXTS, PROMPT)
    account.changes(10)
    account.take(CacheCleared())
    assert set(account.changes(10)[1]) == set(TEXTS)
    assert (len(account), account.held()) == (0, [])
    account.take(stored(PROMPT))
    assert set(account.held()) == set(TEXTS)


def test_blocks_behind_one_that_is_not_known_are_passed_over() -> None:
    account = BlockAccount()
    account.take(stored(PROMPT, 2))
    assert len(account) == 0
    account.take(removed(PROMPT, 3))


def test_the_same_tokens_with_an_adapter_an_image_or_a_salt_are_other_blocks() -> None:
    for event in (stored(PROMPT, adapter="lora"), stored(PROMPT, extra=["image-hash"])):
        account = BlockAccount()
        account.take(event)
        account.prompt(TEXTS, PROMPT)
        assert account.held() == []
    account = BlockAccount()
    account.take(stored(PROMPT, adapter="lora", extra=["lora"]))
    account.prompt(TEXTS, PROMPT, "lora")
    assert set(account.held()) == set(TEXTS)


def test_a_block_that_the_server_holds_twice_is_there_until_both_are_gone() -> None:
    account = BlockAccount()
    event = stored(PROMPT)
    account.take(event)
    account.take(BlocksStored((b"w", b"x", b"y", b"z"), None, event.token_ids, SIZE))
    account.prompt(TEXTS, PROMPT)
    account.take(BlocksRemoved(event.blocks))
    assert set(account.held()) == set(TEXTS)
    account.take(BlocksRemoved((b"w", b"x", b"y", b"z")))
    assert account.held() == []


def test_what_is_remembered_is_bounded() -> None:
    account = BlockAccount(most_blocks=4, most_texts=3)
    account.take(stored(PROMPT))
    account.take(stored([1, 2, 3, 4]))
    assert len(account) == 4
    account = BlockAccount(most_texts=3)
    account.take(stored(PROMPT))
    account.prompt(TEXTS, PROMPT)
    assert account.held() == [13, 12, 11], "the end is forgotten before the beginning"
    assert account.changes(10) == ([13, 12, 11], [14])


def test_changes_come_in_parts() -> None:
    account = BlockAccount()
    account.take(stored(PROMPT))
    account.prompt(TEXTS, PROMPT)
    first, second = account.changes(3), account.changes(3)
    assert (len(first[0]), len(second[0]), account.has_changes) == (3, 1, False)


PROMPTS = [[1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3], [1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4], [5, 5, 5, 5]]
TEXT_BLOCKS = [[1, 2, 3], [1, 2, 4], [5]]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=30))
def test_changes_that_are_applied_in_order_come_to_what_is_held(steps: list[tuple[int, int]]) -> None:
    account, known = BlockAccount(), set[int]()
    there: dict[bytes, None] = {}
    for action, number in steps:
        tokens, blocks = PROMPTS[number], names(PROMPTS[number])
        if action == 0:
            start = next((i for i, block in enumerate(blocks) if block not in there), len(blocks))
            if start < len(blocks):
                account.take(stored(tokens, start))
                there.update(dict.fromkeys(blocks[start:]))
        elif action == 1 and blocks[-1] in there:
            account.take(BlocksRemoved((blocks[-1],)))
            del there[blocks[-1]]
        elif action == 2:
            account.prompt(TEXT_BLOCKS[number], tokens)
        else:
            came, left = account.changes(2)
            known = (known | set(came)) - set(left)
    while account.has_changes:
        came, left = account.changes(2)
        known = (known | set(came)) - set(left)
    assert known == set(account.held())
    for number, texts in enumerate(TEXT_BLOCKS):
        for text, block in zip(texts, names(PROMPTS[number]), strict=True):
            assert text not in known or block in there
