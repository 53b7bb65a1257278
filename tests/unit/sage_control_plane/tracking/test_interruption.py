"""Running bulk answers give up their seats for chats that would be late: which, when, how many, on what budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.control_plane import Pool, engine, request
from fixtures.interpreted_only import interpreted_only

from sage_control_plane.policies.admission_settings import AdmissionSettings
from sage_control_plane.request.engine_state import RunningRequest
from sage_control_plane.request.request import Attempt, PendingRequest, ServiceClass, ServiceLevel, TokensUsed
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.decisions import Interrupt, Outcome
from sage_control_plane.tracking.recompute_budget import RecomputeBudget
from sage_control_plane.tracking.settings import InterruptionSettings

SEATS = 2
TTFT, TPOT = 0.05, 0.02
# After this time without a chat bulk work gets whatever is free: the demand for seats is forgotten.
PAUSE = 300.0


def settings(**fields: float) -> ControlSettings:
    return ControlSettings(headroom=0.0, interruption=InterruptionSettings(**fields))


def bulk(
    request_id: str, now: float, *, output_tokens: int = 1000, resumable: bool = True, streaming: bool = True
) -> PendingRequest:
    """A bulk request of 100 tokens."""
    made = request(request_id, now, service_class=ServiceClass.BULK, tokens=200, timeout=1e6, streaming=streaming)
    classification = replace(
        made.classification, output_tokens=output_tokens, resumable=resumable, sheddable=True, slo=ServiceLevel()
    )
    return replace(made, classification=classification)


def begin(pool: Pool, *ids: str, resumable: bool = True) -> None:
    for request_id in ids:
        attempt = pool.running[request_id].attempt
        pool.manager.first_token(request_id, attempt, pool.now, TTFT, resumable=resumable)
    pool.decide()


def held_by_bulk(*ids: str, policy: str = "hybrid", control: ControlSettings | None = None, seats: int = SEATS) -> Pool:
    """An engine all of whose seats run bulk answers."""
    pool = Pool(engine("e", concurrency=seats), policy=policy, settings=control or settings())
    for request_id in ids:
        pool.submit(bulk(request_id, pool.now))
        pool.advance(0.5)
        begin(pool, request_id)
        pool.advance(0.5)
    return pool


def interrupted(pool: Pool) -> list[str]:
    return [decision.request_id for decision in pool.decisions if isinstance(decision, Interrupt)]


def carry_out(pool: Pool, request_id: str, tokens: int = 50) -> None:
    """The edge stops the attempt and submits the rest."""
    order = next(d for d in reversed(pool.decisions) if isinstance(d, Interrupt) and d.request_id == request_id)
    before = pool.running[request_id].request
    pool.manager.cancel(request_id, order.attempt, pool.now, order.engine_id)
    pool.running.pop(request_id)
    pool.decide()
    classification = replace(before.classification, input_tokens=before.classification.input_tokens + tokens)
    rest = replace(
        before,
        classification=classification,
        submission=before.submission + 1,
        interrupted=True,
        delivered_tokens=tokens,
    )
    pool.submit(rest)


def test_a_chat_gets_the_seat_of_the_answer_that_has_run_least() -> None:
    pool = held_by_bulk("old", "young")
    pool.submit(request("chat", pool.now))
    assert interrupted(pool) == ["young"]
    assert "chat" not in pool.running
    carry_out(pool, "young")
    assert pool.running["chat"].engine_id == "e"
    assert "young" not in pool.running
    assert pool.manager.holds("young")


def test_what_was_interrupted_goes_on_when_there_is_room_and_ends_as_it_would_have() -> None:
    pool = held_by_bulk("old", "young")
    arrived_at = pool.running["young"].request.arrived_at
    pool.submit(request("chat", pool.now))
    carry_out(pool, "young")
    begin(pool, "chat")
    pool.advance(1.0)
    pool.finish("chat")
    pool.advance(PAUSE)
    assert pool.running["young"].request.arrived_at == arrived_at
    assert pool.running["young"].attempt.submission == 2
    begin(pool, "young")
    pool.finish("young")
    assert pool.manager.totals.interrupted == 1
    assert pool.manager.totals.recomputed_tokens == 150
    record = pool.manager.decision_log.get("young")
    assert record is not None
    assert (record.interruptions, record.outcome) == (1, Outcome.FINISHED.value)
    assert record.dispatches[0].error_code == "interrupted"
    assert "interactive" in (record.dispatches[0].error or "")


def test_a_request_is_never_interrupted_twice_in_a_row() -> None:
    pool = held_by_bulk("one", seats=1)
    pool.submit(request("chat", pool.now))
    carry_out(pool, "one")
    begin(pool, "chat")
    pool.finish("chat")
    pool.advance(PAUSE)
    begin(pool, "one")
    pool.advance(5.0)
    pool.submit(request("later", pool.now))
    assert interrupted(pool) == ["one"]
    # Its engine's death ends that run; the next may be interrupted again.
    error_run = pool.running["one"].request
    pool.manager.cancel("one", None, pool.now)
    pool.manager.cancel("later", None, pool.now)
    pool.running.pop("one")
    pool.submit(replace(error_run, submission=3, interrupted=False))
    pool.advance(PAUSE)
    begin(pool, "one")
    pool.submit(request("latest", pool.now))
    assert interrupted(pool) == ["one", "one"]


def goes_on(pool: Pool, request_id: str, cached: int) -> None:
    """An interrupted answer begins again, and its engine says how much of it was in its cache."""
    dispatch = pool.running[request_id]
    used = TokensUsed(dispatch.request.classification.input_tokens, None, cached)
    pool.manager.first_token(request_id, dispatch.attempt, pool.now, TTFT, resumable=True, used=used)
    pool.decide()


def test_where_the_cache_keeps_an_answer_it_is_interrupted_again_once_it_has_come_further_than_that_costs() -> None:
    pool = held_by_bulk("one", seats=1)
    for number in range(4):
        pool.submit(request(f"chat{number}", pool.now))
        assert interrupted(pool) == ["one"] * (number + 1)
        carry_out(pool, "one")
        begin(pool, f"chat{number}")
        pool.finish(f"chat{number}")
        pool.advance(PAUSE)
        size = pool.running["one"].request.classification.input_tokens
        goes_on(pool, "one", cached=size - 1)
        # It begins, and has no more than the next interruption would cost.
        pool.submit(request(f"soon{number}", pool.now))
        assert interrupted(pool) == ["one"] * (number + 1)
        pool.manager.cancel(f"soon{number}", None, pool.now)
        pool.advance(5.0)
    assert pool.manager.totals.recomputed_tokens == 4


def test_what_was_not_computed_again_is_given_back_to_the_budget() -> None:
    pool = held_by_bulk("one", seats=1)
    budget = pool.manager._interruption.account.budget
    before = budget.left(pool.now)
    pool.submit(request("chat", pool.now))
    assert budget.left(pool.now) < before - 100
    carry_out(pool, "one")
    begin(pool, "chat")
    pool.finish("chat")
    pool.advance(PAUSE)
    goes_on(pool, "one", cached=pool.running["one"].request.classification.input_tokens - 1)
    assert budget.left(pool.now) > before - 2


def test_no_more_seats_are_freed_than_requests_wait() -> None:
    pool = held_by_bulk("a", "b", "c", "d", seats=4)
    pool.submit(request("chat1", pool.now))
    assert len(interrupted(pool)) == 1
    pool.submit(request("chat2", pool.now))
    assert len(interrupted(pool)) == 2
    pool.advance(0.3)
    assert len(interrupted(pool)) == 2


def test_an_edge_that_does_not_stop_its_attempt_is_not_waited_for() -> None:
    pool = held_by_bulk("old", "young")
    pool.submit(request("chat", pool.now, timeout=60.0))
    pool.advance(0.9)
    assert interrupted(pool) == ["young"]
    # In the meantime the chat has missed its target; another comes.
    pool.advance(0.2)
    pool.submit(request("chat2", pool.now))
    assert interrupted(pool) == ["young", "old"]


@pytest.mark.parametrize("policy", ["fifo", "priority", "slo_aware"])
def test_only_hybrid_interrupts(policy: str) -> None:
    pool = held_by_bulk("old", "young", policy=policy)
    pool.submit(request("chat", pool.now))
    pool.advance(5.0)
    assert interrupted(pool) == []


def test_bulk_work_interrupts_nothing() -> None:
    pool = held_by_bulk("old", "young")
    pool.submit(bulk("more", pool.now))
    pool.advance(5.0)
    assert interrupted(pool) == []


def test_chats_are_not_interrupted_and_neither_is_what_cannot_go_on() -> None:
    pool = Pool(engine("e", concurrency=3), policy="hybrid", settings=settings())
    pool.submit(bulk("tools", pool.now, resumable=False), bulk("server", pool.now))
    pool.submit(request("talk", pool.now))
    begin(pool, "tools", "server", "talk", resumable=False)
    pool.advance(2.0)
    pool.submit(request("chat", pool.now))
    assert interrupted(pool) == []


def test_what_has_not_begun_goes_first_whether_it_can_be_continued_or_not() -> None:
    pool = held_by_bulk("old")
    pool.submit(bulk("unbegun", pool.now, resumable=False))
    pool.advance(0.1)
    pool.submit(request("chat", pool.now))
    assert interrupted(pool) == ["unbegun"]


def test_an_answer_in_one_piece_is_not_interrupted_once_its_prompt_is_taken_to_be_computed() -> None:
    pool = Pool(engine("e", concurrency=1), policy="hybrid", settings=settings())
    pool.submit(bulk("whole", pool.now, streaming=False))
    pool.advance(3.0)
    pool.submit(request("chat", pool.now))
    assert interrupted(pool) == []


def test_adopted_attempts_are_left_alone() -> None:
    running = tuple(RunningRequest(f"r{n}", Attempt(1, n + 1), started_replying=True) for n in range(SEATS))
    pool = Pool(engine("e", concurrency=SEATS, running=running), policy="hybrid", settings=settings(), epoch=2)
    pool.submit(*(bulk(f"r{n}", pool.now) for n in range(SEATS)))
    assert pool.manager.outstanding == SEATS
    pool.advance(1.0)
    pool.submit(request("chat", pool.now))
    pool.advance(2.0)
    assert interrupted(pool) == []


def test_what_the_policy_placed_while_a_chat_waited_is_not_stopped_for_it() -> None:
    pool = Pool(engine("e", concurrency=1), policy="hybrid", settings=settings())
    pool.submit(request("talk", pool.now))
    begin(pool, "talk")
    chat = request("chat", pool.now)
    pool.submit(bulk("starved", pool.now), chat)
    pool.advance(11.0)
    # Bulk work that has waited for its bound goes before the chat.
    pool.finish("talk")
    assert "starved" in pool.running
    pool.advance(0.1)
    assert interrupted(pool) == []


def taught(seats: int, **fields: float) -> Pool:
    """An engine whose pace is known."""
    pool = Pool(engine("e", concurrency=seats), policy="hybrid", settings=settings(**fields))
    for number in range(60):
        pool.submit(request(f"w{number}", pool.now))
        pool.now += TTFT
        pool.manager.first_token(f"w{number}", pool.running[f"w{number}"].attempt, pool.now, TTFT)
        pool.now += TPOT * 49
        pool.manager.finished(f"w{number}", pool.running[f"w{number}"].attempt, pool.now, TokensUsed(50, 50))
        pool.decide()
    pool.advance(PAUSE)
    pool.decisions.clear()
    return pool


def test_an_answer_that_ends_in_time_is_waited_for() -> None:
    pool = taught(1)
    pool.submit(bulk("ends", pool.now, output_tokens=100))
    pool.now += TTFT
    begin(pool, "ends")
    pool.advance(1.8)
    pool.submit(request("chat", pool.now))
    assert interrupted(pool) == []
    # The end was expected after 0.2 s; where it does not come, there is still time.
    pool.advance(0.35)
    assert interrupted(pool) == ["ends"]


def test_one_that_ends_too_late_is_not() -> None:
    pool = taught(1)
    pool.submit(bulk("long", pool.now, output_tokens=200))
    pool.now += TTFT
    begin(pool, "long")
    pool.advance(1.8)
    pool.submit(request("chat", pool.now))
    assert interrupted(pool) == ["long"]


def test_a_spent_budget_stops_interruptions_until_tokens_are_processed() -> None:
    pool = taught(1, ratio=0.05, window_seconds=1e9, floor_tokens=0.0)
    # What has been processed: 60 answers of 50 tokens to as many, and 1.5 s of each victim.
    allowed = 0.05 * 60 * 100
    cost = 100 + 1.5 / TPOT
    for number in range(5):
        pool.submit(bulk(f"bulk{number}", pool.now))
        pool.now += TTFT
        begin(pool, f"bulk{number}")
        pool.advance(1.5)
        pool.submit(request(f"chat{number}", pool.now))
        for one in (f"bulk{number}", f"chat{number}"):
            pool.manager.cancel(one, None, pool.now)
        pool.advance(PAUSE)
    assert interrupted(pool) == [f"bulk{number}" for number in range(int(allowed / cost))]
    for number in range(60):
        pool.submit(request(f"x{number}", pool.now))
        begin(pool, f"x{number}")
        pool.manager.finished(f"x{number}", pool.running[f"x{number}"].attempt, pool.now, TokensUsed(50, 50))
        pool.decide()
    pool.advance(PAUSE)
    pool.submit(bulk("again", pool.now))
    begin(pool, "again")
    pool.advance(1.5)
    pool.submit(request("chat", pool.now))
    assert interrupted(pool)[-1] == "again"


def test_without_a_ratio_there_are_no_interruptions() -> None:
    pool = held_by_bulk("old", "young", control=settings(ratio=0.0))
    pool.submit(request("chat", pool.now))
    pool.advance(5.0)
    assert interrupted(pool) == []


def test_an_engine_with_a_queue_of_its_own_stops_what_is_queued_there_too() -> None:
    pool = Pool(engine("e", concurrency=10), policy="hybrid", settings=replace(settings(), headroom=0.2))
    names = [f"b{n}" for n in range(12)]
    for name in names:
        pool.submit(bulk(name, pool.now))
        pool.advance(0.1)
    begin(pool, *names[:10])
    pool.advance(1.0)
    pool.submit(request("chat", pool.now))
    # Two wait in the engine's queue and one has a seat; only with all three gone the chat begins at once.
    assert set(interrupted(pool)) == {"b11", "b10", "b9"}


def test_a_chat_that_an_engine_would_queue_behind_bulk_gets_a_seat_there() -> None:
    pool = Pool(engine("e", concurrency=10), policy="hybrid", settings=replace(settings(), headroom=0.2))
    names = [f"b{n}" for n in range(10)]
    for name in names:
        pool.submit(bulk(name, pool.now))
        pool.advance(0.1)
    begin(pool, *names)
    pool.advance(1.0)
    pool.submit(request("chat", pool.now))
    assert "chat" in pool.running
    assert interrupted(pool) == ["b9"]


def test_what_goes_on_is_not_refused_where_the_queue_is_full() -> None:
    full = replace(settings(), admission=AdmissionSettings(class_max_queued={"bulk": 1}))
    pool = held_by_bulk("old", "young", control=full)
    pool.submit(bulk("queued", pool.now), request("chat", pool.now))
    pool.submit(bulk("refused", pool.now))
    assert [refusal.request_id for refusal in pool.refusals()] == ["refused"]
    carry_out(pool, "young")
    assert pool.manager.holds("young")
    assert len(pool.refusals()) == 1


def test_a_lost_engine_ends_an_interruption_under_way() -> None:
    pool = held_by_bulk("old", "young")
    pool.submit(request("chat", pool.now))
    pool.manager.engine_lost("e", "died", pool.now)
    pool.decide()
    pool.manager.engine_updated(engine("e2", concurrency=SEATS), pool.now)
    pool.decide()
    assert pool.running["chat"].engine_id == "e2"
    order = next(d for d in pool.decisions if isinstance(d, Interrupt))
    # The edge's order to stop comes after its attempt is gone, and changes nothing.
    pool.manager.cancel("young", order.attempt, pool.now, order.engine_id)
    pool.decide()
    assert pool.manager.outstanding == 1


@pytest.mark.parametrize("stopped", [False, True])
@interpreted_only
def test_the_tenant_pays_for_its_tokens_once(stopped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = taught(1)
    charges = _charges(pool, "b", monkeypatch)
    pool.submit(bulk("b", pool.now, output_tokens=200))
    pool.now += TTFT
    begin(pool, "b")
    pool.advance(TPOT * 100)
    if stopped:
        pool.submit(request("chat", pool.now, tenant="other"))
        carry_out(pool, "b", tokens=101)
        pool.manager.cancel("chat", None, pool.now)
        pool.advance(PAUSE)
        pool.now += TTFT
        begin(pool, "b")
        used = TokensUsed(201, 99)
    else:
        used = TokensUsed(100, 200)
    pool.advance(TPOT * 100)
    pool.manager.finished("b", pool.running["b"].attempt, pool.now, used)
    pool.decide()
    prices = pool.manager._learning.prices
    route = bulk("b", 0.0).classification.route
    assert sum(charges) == pytest.approx(prices.seconds(route, 100, 200), rel=0.05)


def _charges(pool: Pool, request_id: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every charge and correction of one request from now on, in engine-seconds."""
    queue, seen = pool.manager._queue, list[float]()
    drained, settled = queue.drained, queue.settled

    def note(request: PendingRequest, seconds: float) -> None:
        if request.request_id == request_id:
            seen.append(seconds)

    def on_drained(request: PendingRequest, seconds: float, now: float) -> None:
        note(request, seconds)
        drained(request, seconds, now)

    def on_settled(request: PendingRequest, seconds: float) -> None:
        note(request, seconds)
        settled(request, seconds)

    monkeypatch.setattr(queue, "drained", on_drained)
    monkeypatch.setattr(queue, "settled", on_settled)
    return seen


class TestBudget:
    def test_what_turned_out_to_be_computed_again_takes_the_place_of_what_was_expected(self) -> None:
        budget = RecomputeBudget(0.05, 1e9, floor=200.0)
        assert budget.withdraw(150, 0.0)
        assert not budget.withdraw(100, 0.0)
        budget.correct(150, 1, 0.0)
        assert budget.left(0.0) == pytest.approx(199)

    def test_cheaper_interruptions_are_more_for_the_same_tokens(self) -> None:
        budget = RecomputeBudget(0.05, 1e9, floor=1000.0)
        budget.expect(500.0)
        assert budget.interruptions_left(0.0, 1.0) == 2.0
        budget.withdraw(10, 0.0, size=100.0)
        assert budget.interruptions_left(0.0, 1.0) == pytest.approx(9.9)
        assert budget.interruptions_left(0.0, 0.1) == pytest.approx(99.0)
        # One costs a token at least.
        assert budget.interruptions_left(0.0, 0.0) == pytest.approx(990.0)

    def test_before_the_first_it_plans_with_what_came(self) -> None:
        budget = RecomputeBudget(0.05, 1e9, floor=1000.0)
        assert budget.interruptions_left(0.0, 1.0) == 0.0, "nothing came that could be interrupted"
        budget.expect(100.0)
        assert budget.interruptions_left(0.0, 1.0) == 10.0
        for _ in range(200):
            budget.expect(200.0)
        assert budget.interruptions_left(0.0, 1.0) == pytest.approx(5.0, rel=0.01)
        budget.withdraw(50, 0.0, size=50.0)
        assert budget.interruptions_left(0.0, 1.0) == pytest.approx(19.0), "what one really stopped counts from then on"

    def test_a_share_of_the_processed_tokens_may_be_spent(self) -> None:
        budget = RecomputeBudget(0.05, 1e9, floor=0.0)
        assert not budget.withdraw(1, 0.0)
        budget.deposit(1000, 0.0)
        assert budget.withdraw(50, 0.0)
        assert not budget.withdraw(1, 0.0)

    def test_what_runs_counts_as_processed_without_a_deposit(self) -> None:
        budget = RecomputeBudget(0.05, 1e9, floor=0.0)
        assert budget.withdraw(50, 0.0, running=1000)
        assert not budget.withdraw(1, 0.0, running=1000)

    def test_the_floor_is_there_whatever_the_traffic(self) -> None:
        budget = RecomputeBudget(0.05, 10.0, floor=100.0)
        assert budget.withdraw(100, 0.0)
        assert not budget.withdraw(1, 0.0)
        # What was spent fades as what was processed does.
        assert budget.withdraw(60, 10.0)

    def test_what_was_processed_long_ago_allows_nothing(self) -> None:
        budget = RecomputeBudget(0.05, 10.0, floor=0.0)
        budget.deposit(10_000, 0.0)
        assert budget.left(0.0) == pytest.approx(500)
        assert budget.left(100.0) < 1
