"""Where the time of a request went, in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fixtures.seen_requests import view

from sage_client.management.views import ClassificationView, DispatchView, EngineView, Explanation
from sage_studio.feed import SeenRequest
from sage_studio.time_account import others_while_queued, time_account
from sage_studio.timeline import timeline

NOW = 1_800_000_000_000
CHAT = ClassificationView(
    "llm_chat", "main", "m", "interactive", "normal", 500, 50, 0, 10, 40, True, False, True, ("a chat",)
)
# Waits for five seconds, has its first token 100 ms later, and ends after another 400.
WAITED = Explanation(
    request_id="slow",
    scheduler_id="s1",
    state="finished",
    tenant="ann",
    classification=CHAT,
    policy="hybrid",
    band="interactive",
    age_ms=6000,
    decided_ms_ago=0,
    queue_ms=5000.0,
    engine_id="e",
    predicted_ttft_ms=None,
    actual_ttft_ms=100.0,
    ended_after_ms=5500.0,
    dispatches=(DispatchView("e", 1, False, 5000.0, 5000.0, "interactive", (), None, "", ""),),
    error_code="",
    error_message="",
    output_tokens=41,
)
AT_ONCE = replace(
    WAITED,
    queue_ms=0.0,
    ended_after_ms=500.0,
    dispatches=(DispatchView("e", 1, False, 0.0, 0.0, "interactive", (), None, "", ""),),
)
LLAMA = EngineView(
    *("e", "llamacpp", "main", "ready", "", "c", ("m",), 4, 0, 0, 0, 0.0, "", {}),
    name="llama",
    capacity_source="told",
    request_cap=4,
)
VIEW = view(
    request_id="slow",
    pool="main",
    engine_id="e",
    age_ms=6000,
    queue_ms=5000.0,
    ttft_ms=5100.0,
    ended_after_ms=5500.0,
    output_tokens=41,
)


def seen(
    request_id: str, arrived_ms: int, queue_ms: float, ended_after_ms: float | None, **more: object
) -> SeenRequest:
    """Return a request that arrived ``arrived_ms`` after the one that waited."""
    view = replace(VIEW, request_id=request_id, queue_ms=queue_ms, ended_after_ms=ended_after_ms, **more)  # type: ignore[arg-type]
    return SeenRequest(view, NOW + arrived_ms, NOW, 1)


def requests(*others: SeenRequest) -> dict[str, SeenRequest]:
    return {one.view.request_id: one for one in (seen("slow", 0, 5000.0, 5500.0), *others)}


def test_those_count_that_the_engine_computed_while_it_waited() -> None:
    around = requests(
        seen("began before", -3000, 0.0, 3100.0, service_class="bulk"),
        seen("still runs", -100, 0.0, None, service_class="bulk"),
        seen("waited too", 100, 4000.0, 9000.0, service_class="bulk", tenant="bob"),
        seen("had ended", -3000, 0.0, 2900.0),
        seen("came after", 5200, 0.0, 5300.0),
        seen("elsewhere", 0, 0.0, 5000.0, engine_id="other"),
    )
    assert others_while_queued(WAITED, timeline(WAITED), around) == {("bulk", "ann"): 2, ("bulk", "bob"): 1}


def test_while_it_still_waits_every_engine_with_its_model_counts() -> None:
    waits = replace(
        WAITED, state="queued", engine_id="", dispatches=(), actual_ttft_ms=None, ended_after_ms=None, age_ms=2000
    )
    own = seen("slow", 0, 2000.0, None, engine_id="", state="queued")
    around = {
        "slow": own,
        "a": seen("a", -100, 0.0, None, engine_id="e1"),
        "b": seen("b", -100, 0.0, None, engine_id="e2", model="another"),
        "queued": seen("queued", -100, 2000.0, None, engine_id="", state="queued"),
    }
    drawn = timeline(waits)
    others = others_while_queued(waits, drawn, around)
    assert others == {("interactive", "ann"): 1}
    assert time_account(waits, drawn, others, None) == [
        "2,000 ms of 2,000 ms so far: it waited in the queue for its turn.",
        "Meanwhile the engines with its model worked on 1 other: 1 interactive of tenant ann.",
    ]


def test_a_request_that_the_studio_has_not_seen_has_no_others() -> None:
    assert others_while_queued(WAITED, timeline(WAITED), {}) == {}


def test_a_long_wait_names_who_was_served_meanwhile_and_the_target_that_was_missed() -> None:
    others = Counter({("bulk", "bob"): 12, ("interactive", "ann"): 2, ("bulk", "cy"): 3, ("default", "dee"): 1})
    assert time_account(WAITED, timeline(WAITED), others, LLAMA) == [
        "5,000 ms of 5,500 ms: it waited in the queue for its turn.",
        "Meanwhile llama worked on 18 others: 12 bulk of tenant bob, 3 bulk of tenant cy, 2 interactive of tenant ann,"
        " 1 more.",
        "Its first token came after 5,100 ms; the target is 500 ms.",
    ]


def test_a_request_that_was_served_at_once_says_what_its_engine_did() -> None:
    assert time_account(AT_ONCE, timeline(AT_ONCE), {}, LLAMA) == [
        "400 ms of 500 ms: llama wrote the answer, token by token, one each 10 ms."
    ]


def test_a_long_prompt_says_its_length() -> None:
    told = replace(
        AT_ONCE, classification=replace(CHAT, input_tokens=3000), actual_ttft_ms=900.0, ended_after_ms=1000.0
    )
    assert time_account(told, timeline(told), {}, LLAMA)[0] == (
        "900 ms of 1,000 ms: llama read its prompt of about 3,000 tokens, until the first token."
    )


def test_an_engine_that_gets_fewer_at_once_than_it_takes_is_named_as_a_reason_to_wait() -> None:
    others = Counter({("bulk", "bob"): 1})
    narrowed = replace(LLAMA, request_cap=1)
    assert time_account(WAITED, timeline(WAITED), others, narrowed)[2] == (
        "llama gets 1 at once now, of 4: with more it would generate too slowly for the targets of requests, or queue"
        " them itself."
    )
    # What is being found out is no less than what somebody said.
    finding_out = replace(narrowed, capacity_source="unknown")
    assert len(time_account(WAITED, timeline(WAITED), others, finding_out)) == 3
