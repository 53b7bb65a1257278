"""Who may take a free pool, and who should give one up."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sage_scheduler.fair_share import GRACE_SECONDS, Shares


def test_whoever_holds_fewest_takes_a_free_pool_at_once_and_the_others_wait() -> None:
    holders = {"p1": "a"}
    assert not Shares("a", ["a", "b"], holders).may_take(0.0)
    assert Shares("b", ["a", "b"], holders).may_take(0.0)
    assert Shares("a", ["a", "b"], holders).may_take(GRACE_SECONDS)


def test_a_pool_that_has_a_leader_is_left_alone() -> None:
    assert not Shares("b", ["a", "b"], {"p1": "a"}).may_take(-1.0)


def test_a_replica_that_is_alone_keeps_everything() -> None:
    shares = Shares("a", ["a"], {f"p{n}": "a" for n in range(10)})
    assert shares.to_give_up() is None
    assert shares.may_take(0.0)


def test_a_replica_not_yet_registered_counts_itself() -> None:
    assert Shares("b", ["a"], {"p1": "a"}).may_take(0.0)


@given(st.integers(1, 12), st.integers(1, 6), st.integers())
def test_shares_become_fair_and_then_stay(pools: int, replicas: int, seed: int) -> None:
    random = Random(seed)
    names = [f"r{n}" for n in range(replicas)]
    holders = {f"p{n}": random.choice(names) for n in range(pools)}
    for _ in range(pools * replicas):
        for name in names:
            pool = Shares(name, names, holders).to_give_up()
            if pool is not None:
                del holders[pool]
                taker = next(n for n in names if Shares(n, names, holders).may_take(0.0))
                holders[pool] = taker
    held = Counter(dict.fromkeys(names, 0))
    held.update(holders.values())
    assert max(held.values()) - min(held.values()) <= 1
    assert max(held.values()) <= -(-pools // replicas)
    assert len(holders) == pools
    assert all(Shares(name, names, holders).to_give_up() is None for name in names)
