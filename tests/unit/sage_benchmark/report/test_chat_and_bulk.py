"""The table and the bars of chats beside bulk work are of the figures that they name."""

from __future__ import annotations

from sage_benchmark.report.chat_and_bulk import chat_and_bulk_bars, chat_and_bulk_table, ratio_table
from sage_benchmark.report.metrics import SystemRuns, measure
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.workload.arrival import Arrival
from sage_control_plane.request.request import RequestKind, ServiceClass

CONFIG = EngineModelConfig()


def system(name: str, chat_ttft: list[float], bulk_ttft: float, tokens: int, load: float = 1.0) -> SystemRuns:
    chats = [
        RequestOutcome(
            Arrival(number, 0.0, RequestKind.LLM_CHAT, "a", 10, 2, ServiceClass.INTERACTIVE), 0.0, ttft, ttft, 2, 200
        )
        for number, ttft in enumerate(chat_ttft)
    ]
    bulk = RequestOutcome(
        Arrival(99, 0.0, RequestKind.LLM_GENERATE, "a", 10, tokens, ServiceClass.BULK),
        0.0,
        bulk_ttft,
        bulk_ttft,
        tokens,
        200,
    )
    return SystemRuns(name, load, [measure([*chats, bulk], 10.0, CONFIG, 1.0)])


OURS = system("sage hybrid", [0.2, 0.4, 0.4, 2.0], 5.0, 92)
PEER = system("smg", [0.5, 0.5, 3.0, 4.0], 10.0, 42)


def test_a_row_has_seconds_shares_and_tokens() -> None:
    table = chat_and_bulk_table([OURS])
    assert list(table.columns)[3] == "chats within 1 s"
    assert list(table.rows) == [("sage hybrid", "1", "0.40 / 2.00", "0.75", "5.00", "10.0", "0.75", "0.80")]


def test_a_class_that_was_not_served_has_no_times() -> None:
    only_bulk = SystemRuns("none", 1.0, [measure([], 10.0, CONFIG, 1.0)])
    [row] = chat_and_bulk_table([only_bulk]).rows
    assert row[2:5] == ("– / –", "–", "–")


def test_ratios_are_to_each_other_system_at_the_same_load() -> None:
    elsewhere = system("smg", [0.5], 1.0, 1, load=2.0)
    table = ratio_table("sage hybrid", [OURS, PEER, elsewhere])
    assert list(table.rows) == [("smg", "1", "0.13", "0.50", "1.50", "0.50", "2.00", "1.33")]


def test_the_bars_are_the_peers_p95_its_share_in_time_and_its_tokens() -> None:
    p95, within, tokens = chat_and_bulk_bars("sage hybrid", "smg", [OURS, PEER])
    assert (p95.value, p95.bar, p95.reached) == (2000.0, 4000.0, True)
    assert (within.value, within.bar, within.reached) == (0.75, 0.85, False)
    assert (tokens.value, tokens.bar, tokens.reached) == (2.0, 1.05, True)


def test_there_are_no_bars_beside_a_peer_that_was_not_run() -> None:
    assert chat_and_bulk_bars("sage hybrid", "smg", [OURS]) == []
