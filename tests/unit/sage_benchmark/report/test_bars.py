from __future__ import annotations

from dataclasses import replace

from sage_benchmark.report.bars import cache_bars, peer_bars, policy_bars
from sage_benchmark.report.metrics import GroupMetrics, Percentiles, RunMetrics, SystemRuns

NOTHING = Percentiles(0, 0.0, 0.0, 0.0)


def system(name: str, goodput: float, attainment: float, ttft_p99_ms: float) -> SystemRuns:
    group = GroupMetrics(10, attainment, 1.0, Percentiles(10, 1.0, 2.0, ttft_p99_ms), NOTHING, NOTHING)
    run = RunMetrics(10, 1.0, attainment, goodput, goodput, 0.0, 1.0, by_class={"interactive": group})
    return SystemRuns(name, 1.3, [run])


def test_hybrid_is_held_against_fifo() -> None:
    bars = policy_bars([system("fifo", 10, 0.4, 900), system("hybrid", 16, 0.97, 200)])
    assert [bar.reached for bar in bars] == [True, True, True]
    bars = policy_bars([system("fifo", 10, 0.6, 900), system("hybrid", 14, 0.9, 200)])
    assert [bar.reached for bar in bars] == [False, False, False]


def test_one_policy_alone_has_nothing_to_reach() -> None:
    assert policy_bars([system("hybrid", 16, 0.97, 200)]) == []


def test_the_mesh_is_held_against_each_peer_on_goodput_and_slowest_first_tokens() -> None:
    ours = system("sage hybrid", 10, 0.9, 300)
    peers = [system("ahead", 11, 0.9, 200), system("behind", 8, 0.9, 400)]
    bars = peer_bars(ours.name, [peer.name for peer in peers], [ours, *peers])
    assert [bar.reached for bar in bars] == [False, False, True, True]


def test_the_mesh_is_held_against_a_peer_on_the_prompt_tokens_that_were_cached() -> None:
    def cached(name: str, tokens: int) -> SystemRuns:
        made = system(name, 10, 0.9, 300)
        return replace(made, runs=[replace(run, cached_prompt_tokens=tokens) for run in made.runs])

    [bar] = cache_bars("ours", "theirs", [cached("ours", 900), cached("theirs", 1000)])
    assert (bar.value, bar.reached) == (0.9, False)
    [bar] = cache_bars("ours", "theirs", [cached("ours", 1000), cached("theirs", 1000)])
    assert bar.reached
    assert cache_bars("ours", "theirs", [cached("ours", 1000), cached("theirs", 0)]) == []
