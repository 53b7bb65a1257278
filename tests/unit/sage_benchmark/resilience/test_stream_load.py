from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sage_benchmark.load.closed_loop import percentile
from sage_benchmark.report.bars import Bar
from sage_benchmark.resilience.stream_load import stream_load
from sage_benchmark.resilience.stream_rung import SERVICES, Rung
from sage_benchmark.resilience.streams_plan import StreamsPlan
from sage_benchmark.resilience.streams_report import streams_result
from sage_benchmark.static_engine import StaticAnswer, StaticEngine

BODY = b'{"model":"static","stream":true,"messages":[]}'


@pytest.fixture
async def engine() -> AsyncIterator[StaticEngine]:
    engine = StaticEngine(StaticAnswer(tokens=6, gap_ms=10))
    await engine.start()
    yield engine
    engine.close()


async def test_every_stream_is_read_to_its_end_with_the_gaps_between_its_tokens(engine: StaticEngine) -> None:
    load = await stream_load(engine.url, BODY, streams=5, ramp_seconds=0.05, stream_seconds=0.06)
    assert (load.streams, load.failed, load.reason) == (5, 0, "")
    # The end of a stream comes with its last token, as a piece of its own.
    assert sum(gap >= 5 for gap in load.gaps_ms) == 25
    assert percentile(load.gaps_ms, 0.5) >= 8
    assert 0.04 <= load.stream_seconds <= load.seconds


async def test_streams_that_are_refused_are_counted_with_the_first_reason(engine: StaticEngine) -> None:
    whole = BODY.replace(b"true", b"false")
    load = await stream_load(engine.url, whole, streams=2, ramp_seconds=0.0, stream_seconds=0.0)
    assert (load.failed, load.reason) == (2, "no end of the stream")


def rung(
    streams: int, added: float, *, stall: float = 10.0, mb: float = 100.0, failed: int = 0, us: float = 30.0
) -> Rung:
    cpu = dict.fromkeys(SERVICES, us)
    return Rung(streams, failed, streams * 20.0, 50.0, 60.0 + added, 90.0 + stall, 60.0, 90.0, 50.0, cpu, mb)


def test_one_gateway_carries_what_the_highest_rung_does_whose_gaps_have_not_grown() -> None:
    ladder = [rung(100, 5.0), rung(250, 30.0), rung(500, 45.0, failed=1), rung(750, 60.0)]
    result = streams_result(StreamsPlan(), rung(500, 20.0), ladder)
    assert result.figures["tokens_per_second_through_one_gateway"] == 5_000
    assert [bar.reached for bar in result.bars] == [True, True, False]
    assert [bar.value for bar in streams_result(StreamsPlan(), rung(500, 0.0), [rung(2_000, 1.0)]).bars][2] == 40_000
    assert len(result.tables[0].rows) == 5


@pytest.mark.parametrize(("held", "missed"), [(rung(500, 0.0, stall=201.0), 0), (rung(500, 0.0, mb=401.0), 1)])
def test_a_stall_beyond_the_engines_own_and_a_large_gateway_each_miss_their_bar(held: Rung, missed: int) -> None:
    bars: list[Bar] = list(streams_result(StreamsPlan(), held, []).bars)
    assert [place for place, bar in enumerate(bars) if not bar.reached] == [missed]


def test_a_machine_that_kept_the_engine_from_writing_is_too_busy_to_tell() -> None:
    result = streams_result(StreamsPlan(), replace(rung(500, 0.0), gap_max_ms=900.0, engine_max_ms=850.0), [])
    bar = result.bars[0]
    assert "too busy to tell" in bar.name
    assert (bar.value, bar.reached) == (900.0, False)
    assert "too busy" in result.tables[0].rows[0]
    assert result.figures["held"]["stall_ms"] is None


@pytest.mark.parametrize(("us", "reached"), [(3.9, [True, True]), (7.9, [True, False]), (8.1, [False, False])])
def test_what_a_token_costs_in_all_services_is_held_against_the_bar_of_its_rate(us: float, reached: list[bool]) -> None:
    costs = [rung(20, 0.0, us=us), rung(100, 0.0, us=us)]
    bars = streams_result(StreamsPlan(), rung(500, 0.0), [], costs).bars[2:]
    assert [bar.reached for bar in bars] == reached
    assert [bar.bar for bar in bars] == [40.0, 20.0]
    assert [bar.value for bar in bars] == pytest.approx([5 * us, 5 * us])


def test_the_costs_are_measured_at_their_rates() -> None:
    costs = StreamsPlan().parts()[-1]
    assert [streams * 1e3 / costs.gap_ms for streams in costs.levels] == [2_000, 10_000]
    assert costs.tokens == 1_000
