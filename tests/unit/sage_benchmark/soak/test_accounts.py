"""What counts as lost: every way in which a request can end, beside the kills of its time."""

from __future__ import annotations

import pytest

from sage_benchmark.soak.accounts import Account, Attempt, Ending, Kill, Verdict, problems, tally
from sage_benchmark.soak.soak_plan import Work

GATEWAY_1 = Kill(11.0, 1, "gateway", "gateway")
COORDINATOR_3 = Kill(11.0, 3, "llm-coordinator", "llm-coordinator")


def attempt(ending: Ending, *, host: int = 1, begun: float = 10.0, ended: float = 12.0, engine: int = 3) -> Attempt:
    return Attempt(host, begun, ended, ending, engine, "detail")


def verdict(work: Work, kills: list[Kill], *attempts: Attempt) -> Verdict:
    return Account("a", work, list(attempts)).verdict(kills)


def test_a_whole_answer_is_as_it_should_be_whatever_died() -> None:
    for work in Work:
        assert verdict(work, [GATEWAY_1, COORDINATOR_3], attempt(Ending.WHOLE)) is Verdict.WHOLE


def test_a_broken_connection_is_explained_by_the_death_of_its_own_gateway_alone() -> None:
    again = [attempt(Ending.BROKEN), attempt(Ending.WHOLE, host=2, begun=12, ended=15)]
    assert verdict(Work.CHAT, [GATEWAY_1], *again) is Verdict.ASKED_AGAIN
    for kills in ([], [Kill(11.0, 2, "gateway", "gateway")], [Kill(8.9, 1, "gateway", "gateway")], [COORDINATOR_3]):
        assert verdict(Work.CHAT, kills, *again) is Verdict.UNEXPLAINED
    assert verdict(Work.CHAT, [GATEWAY_1], attempt(Ending.BROKEN)) is Verdict.UNEXPLAINED, "and nothing came of it"


@pytest.mark.parametrize("work", [Work.CHAT, Work.COMPLETION, Work.EMBEDDING])
def test_what_survives_a_server_may_not_end_in_an_error(work: Work) -> None:
    assert verdict(work, [COORDINATOR_3], attempt(Ending.ERROR)) is Verdict.UNEXPLAINED


def test_a_guided_stream_may_end_in_a_clear_error_as_its_own_server_dies() -> None:
    assert verdict(Work.GUIDED, [COORDINATOR_3], attempt(Ending.ERROR)) is Verdict.CLEAR_ERROR
    assert verdict(Work.GUIDED, [COORDINATOR_3], attempt(Ending.ERROR, engine=2)) is Verdict.UNEXPLAINED
    assert verdict(Work.GUIDED, [COORDINATOR_3], attempt(Ending.WRONG)) is Verdict.UNEXPLAINED


def test_what_does_not_end_is_hung_and_what_was_never_asked_is_lost() -> None:
    assert verdict(Work.CHAT, [GATEWAY_1], attempt(Ending.HUNG)) is Verdict.HUNG
    assert verdict(Work.CHAT, [GATEWAY_1]) is Verdict.UNEXPLAINED


def test_what_is_wrong_is_told_with_the_kills_of_its_time() -> None:
    accounts = [
        Account("good", Work.CHAT, [attempt(Ending.WHOLE)]),
        Account("bad", Work.COMPLETION, [attempt(Ending.WRONG)]),
    ]
    kills = [GATEWAY_1, Kill(500.0, 1, "nats", "nats")]
    counts = tally(accounts, kills)
    assert counts[Work.CHAT] == {Verdict.WHOLE: 1}
    assert counts[Work.COMPLETION] == {Verdict.UNEXPLAINED: 1}
    (line,) = problems(accounts, kills)
    assert line.startswith("bad (completion): lost, doubled or wrong: 10.0-12.0 s by host 1, engine of host 3: wrong")
    assert line.endswith("[gateway@1 11.0]")
