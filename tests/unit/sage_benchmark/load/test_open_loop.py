"""Open-loop load: sent on time whatever the server does, timed from the schedule, and every request accounted for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import aiohttp
import pytest
from fixtures.arrivals import burst

from sage_benchmark.load.answer import read_stream
from sage_benchmark.load.open_loop import OpenLoopPlan, run_open_loop
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.simulated_engine.answer_text import answer_text
from sage_benchmark.simulated_engine.engine import SimulatedEngine
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig, SimulatedModels
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.mixed_load import LoadPlan, equal_tenants, generate
from sage_benchmark.workload.rendered_request import RenderedRequest, render
from sage_control_plane.request.features import request_features

MODELS = SimulatedModels("llm", "embedder")
FAST = EngineModelConfig(
    prefill_tokens_per_second=1e6, step_base_seconds=0.001, step_per_sequence_seconds=0.0, max_num_seqs=256
)


@pytest.fixture
async def engine() -> AsyncIterator[SimulatedEngine]:
    running = SimulatedEngine(SimulatedModels("llm", "embedder"), FAST, request_features)
    await running.start()
    yield running
    running.close()


def rendered(arrivals: Sequence[Arrival]) -> list[tuple[Arrival, RenderedRequest]]:
    return [(arrival, render(arrival, MODELS, "t")) for arrival in arrivals]


async def send(url: str, arrivals: Sequence[Arrival], **plan: float) -> list[RequestOutcome]:
    return await run_open_loop(OpenLoopPlan([url], keep_text=True, **plan), rendered(arrivals))  # type: ignore[arg-type]


async def test_every_request_is_served_and_got_the_text_that_the_engine_recorded(engine: SimulatedEngine) -> None:
    arrivals = generate(LoadPlan(1.0, 3, equal_tenants(2, 1.0)), EngineModelConfig(), seed=3)
    arrivals = [replace(a, output_tokens=min(a.output_tokens, 30)) for a in arrivals]
    outcomes = await send(engine.url, arrivals)
    assert [outcome.arrival for outcome in outcomes] == arrivals
    assert all(outcome.served for outcome in outcomes)
    recorded = {entry.request_id: entry for entry in engine.record.entries}
    for outcome in outcomes:
        arrival = outcome.arrival
        assert outcome.tokens == arrival.output_tokens
        assert outcome.text == answer_text(f"t-{arrival.index}", 0, arrival.output_tokens)
        if arrival.output_tokens:
            assert recorded[f"t-{arrival.index}"].text == outcome.text
        assert outcome.sent_at >= arrival.at_seconds - 0.001
        assert outcome.ttft_seconds is not None
        assert outcome.end_to_end_seconds is not None
        assert 0 < outcome.ttft_seconds <= outcome.end_to_end_seconds


async def test_a_stalled_server_delays_answers_and_not_the_sending(engine: SimulatedEngine) -> None:
    await faults(engine, stall_seconds=0.5)
    arrivals = [replace(a, at_seconds=0.02 * a.index) for a in burst(10)]
    outcomes = await send(engine.url, arrivals)
    assert max(outcome.sent_at - outcome.arrival.at_seconds for outcome in outcomes) < 0.2
    first, last = outcomes[0].ttft_seconds, outcomes[-1].ttft_seconds
    assert first is not None
    assert last is not None
    # Each waits for the end of the stall, counted from its own arrival: the earlier it came, the longer.
    assert first - last == pytest.approx(9 * 0.02, abs=0.05)


async def test_rejects_time_outs_and_broken_streams_are_outcomes_too(engine: SimulatedEngine) -> None:
    await faults(engine, error_rate=1.0, error_status=503)
    (refused,) = await send(engine.url, burst(1))
    assert (refused.status, refused.error, refused.served, refused.tokens) == (503, "http_503", False, 0)
    await faults(engine, die_after_tokens=3)
    (broken,) = await send(engine.url, burst(1))
    assert (broken.status, broken.error, broken.served) == (200, "connection_lost", False)
    await faults(engine, stall_seconds=60.0)
    (late,) = await send(engine.url, burst(1), timeout_seconds=0.1)
    assert (late.status, late.error, late.first_token_at) == (0, "timeout", None)
    engine.close()
    (alone,) = await send(engine.url, burst(1))
    assert (alone.status, alone.error) == (0, "cannot_connect")


async def faults(engine: SimulatedEngine, **values: object) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{engine.url}/sim/faults", json=values) as response:
        assert response.status == 200


STREAM = (
    b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"a "}}]}\n\n'
    b'data: {"choices":[{"delta":{"content": "b "},"finish_reason":"stop"}]}\n\n'
)
USAGE = b'data: {"choices":[],"usage":{"completion_tokens":7}}\n\n'


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_tokens_are_found_however_the_stream_is_cut(size: int) -> None:
    data = STREAM + USAGE + b"data: [DONE]\n\n"
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    answer = read_stream(pieces, [float(at + size) for at in range(0, len(data), size)], keep_text=True)
    assert (answer.tokens, answer.error, answer.text) == (7, "", "a b ")
    role_ends = data.index(b"\n\n") + 2
    assert answer.first_at is not None
    assert answer.first_at > role_ends or size == 1000
    if size == 1:
        ends = [data.index(b"\n", data.index(text)) + 1 for text in (b'"a "', b'"b "')]
        assert list(answer.token_times) == ends, "a token is there with the last byte of its line"
        assert (answer.first_at, answer.last_at) == tuple(ends)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (STREAM, "incomplete"),
        (STREAM + b'data: {"error":{"message":"x"}}\n\ndata: [DONE]\n\n', "engine_error"),
        (STREAM + b'data: {"error":{"message":"x","code":"engine_lost"}}\n\ndata: [DONE]\n\n', "engine_lost"),
    ],
)
def test_a_stream_that_ends_early_or_with_an_error_is_not_whole(data: bytes, problem: str) -> None:
    answer = read_stream([data], [1.0], keep_text=True)
    assert (answer.error, answer.tokens, answer.text) == (problem, 2, "a b ")
