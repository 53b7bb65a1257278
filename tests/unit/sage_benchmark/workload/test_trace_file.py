"""Trace files are read whatever their header is called, and become workloads."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage_benchmark.workload.trace_file import TracePlan, TracePoint, read_trace, trace_arrivals
from sage_common.errors import InvalidRequestError

SAMPLE = Path(__file__).parents[5] / "shared" / "data" / "azure_llm_conv.csv"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.5000000,374,44\n2023-11-16 18:15:50.5,396,0\n",
        "timestamp,input,output\n2023-11-16T18:15:46.5Z,374,44\n2023-11-16T18:15:50.5Z,396,1\n",
        "Output Tokens,prompt_tokens,arrival_time\n1,396,14.25\n\n44,374,10.25\n",
    ],
)
def test_columns_are_found_by_name_and_times_count_from_the_first(tmp_path: Path, text: str) -> None:
    assert read_trace(write(tmp_path / "t.csv", text)) == [TracePoint(0.0, 374, 44), TracePoint(4.0, 396, 1)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("when,input,output\n1,2,3\n", "the columns when, input, output"),
        ("time,input,output\n1,2,3\nsoon,2,3\n", "line 3"),
        ("time,input,output\n1,2\n", "line 2"),
        ("time,input,output\n", "no requests"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        read_trace(write(tmp_path / "t.csv", text))


def test_a_trace_can_be_played_faster_and_keeps_its_lengths() -> None:
    points = [TracePoint(float(at), 100 + at, 10 + at) for at in range(100)]
    arrivals = trace_arrivals(points, TracePlan(speed=4.0, duration=10.0, tenants=("a", "b")), seed=1)
    assert len(arrivals) == 40
    assert [(a.at_seconds, a.input_tokens, a.output_tokens) for a in arrivals[:2]] == [(0.0, 100, 10), (0.25, 101, 11)]
    assert {a.tenant for a in arrivals} == {"a", "b"}
    assert all(a.max_tokens >= a.output_tokens for a in arrivals)
    assert arrivals == trace_arrivals(points, TracePlan(speed=4.0, duration=10.0, tenants=("a", "b")), seed=1)


@pytest.mark.skipif(not SAMPLE.exists(), reason="the public sample trace is not here")
def test_the_public_trace_is_read() -> None:
    points = read_trace(SAMPLE)
    assert len(points) == 19_366
    assert points[0] == TracePoint(0.0, 374, 44)
    assert points[1].at == pytest.approx(4.314579)
