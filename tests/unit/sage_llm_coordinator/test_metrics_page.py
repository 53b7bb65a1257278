"""Pages as the generations of servers write them; only the lines that matter, and some that must not."""

from __future__ import annotations

import pytest

from sage_llm_coordinator.engines.metrics_page import MetricsPage, Total, read_metrics

# vLLM 0.5: the first engine, with swapped requests and a ready-made hit rate (-1: no prefix cache).
VLLM_V0 = b"""\
# HELP vllm:num_requests_running Number of requests currently running on GPU.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 3.0
vllm:num_requests_swapped{model_name="m"} 1.0
vllm:num_requests_waiting{model_name="m"} 2.0
vllm:gpu_cache_usage_perc{model_name="m"} 0.25
vllm:cpu_cache_usage_perc{model_name="m"} 0.9
vllm:gpu_prefix_cache_hit_rate{model_name="m"} -1.0
vllm:cache_config_info{block_size="16",cache_dtype="auto",num_cpu_blocks="2048",num_gpu_blocks="1000"} 1.0
vllm:time_to_first_token_seconds_bucket{le="0.001",model_name="m"} 0.0
vllm:time_to_first_token_seconds_sum{model_name="m"} 2.5
vllm:time_to_first_token_seconds_count{model_name="m"} 5.0
vllm:time_per_output_token_seconds_sum{model_name="m"} 4.0
vllm:time_per_output_token_seconds_count{model_name="m"} 200.0
"""

# vLLM 0.8: the second engine under the first one's names; queries and hits as counters.
VLLM_V1_EARLY = b"""\
vllm:num_requests_running{engine="0",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:gpu_prefix_cache_queries_total{engine="0",model_name="m"} 100.0
vllm:gpu_prefix_cache_hits_total{engine="0",model_name="m"} 40.0
vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="100"} 1.0
vllm:time_per_output_token_seconds_sum{engine="0",model_name="m"} 1.0
vllm:time_per_output_token_seconds_count{engine="0",model_name="m"} 50.0
"""

# vLLM 0.10, between two names: both are there, and mean the same.
VLLM_RENAMING = b"""\
vllm:num_requests_running{engine="0",model_name="m"} 4.0
vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:gpu_prefix_cache_queries_total{engine="0",model_name="m"} 100.0
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 100.0
vllm:gpu_prefix_cache_hits_total{engine="0",model_name="m"} 40.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 40.0
vllm:time_per_output_token_seconds_sum{engine="0",model_name="m"} 1.0
vllm:time_per_output_token_seconds_count{engine="0",model_name="m"} 50.0
vllm:inter_token_latency_seconds_sum{engine="0",model_name="m"} 1.0
vllm:inter_token_latency_seconds_count{engine="0",model_name="m"} 50.0
"""

# vLLM 0.32 with two data-parallel engines.
VLLM_TWO_ENGINES = b"""\
vllm:num_requests_running{engine="0",model_name="m"} 4.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:num_requests_waiting{engine="1",model_name="m"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.75
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.25
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1e+03
vllm:prefix_cache_queries_total{engine="1",model_name="m"} 1000.0
vllm:prefix_cache_queries_created{engine="0",model_name="m"} 1.795441336390097e+09
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 600.0
vllm:prefix_cache_hits_total{engine="1",model_name="m"} 200.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="m"} 5.0
vllm:cache_config_info{block_size="128",engine="0",kv_cache_size_tokens="524288",num_gpu_blocks="4096"} 1.0
vllm:cache_config_info{block_size="128",engine="1",kv_cache_size_tokens="524288",num_gpu_blocks="4096"} 1.0
vllm:inter_token_latency_seconds_sum{engine="0",model_name="m"} 3.0
vllm:inter_token_latency_seconds_sum{engine="1",model_name="m"} 1.0
vllm:inter_token_latency_seconds_count{engine="0",model_name="m"} 150.0
vllm:inter_token_latency_seconds_count{engine="1",model_name="m"} 50.0
vllm:request_queue_time_seconds_sum{engine="0",model_name="m"} 0.5
vllm:request_queue_time_seconds_count{engine="0",model_name="m"} 10.0
"""

# SGLang; the second tensor-parallel rank repeats the first one's figures.
SGLANG = b"""\
sglang:num_running_reqs{model_name="m",pp_rank="0",tp_rank="0"} 7.0
sglang:num_running_reqs{model_name="m",pp_rank="0",tp_rank="1"} 7.0
sglang:num_queue_reqs{model_name="m",pp_rank="0",tp_rank="0"} 2.0
sglang:token_usage{model_name="m",pp_rank="0",tp_rank="0"} 0.28
sglang:cache_hit_rate{model_name="m",pp_rank="0",tp_rank="0"} 0.5
sglang:max_total_num_tokens{model_name="m",pp_rank="0",tp_rank="0"} 4096.0
sglang:time_to_first_token_seconds_sum{model_name="m"} 1.5
sglang:time_to_first_token_seconds_count{model_name="m"} 3.0
"""

# llama.cpp of 2024, and of 2026, where prompts and answers are counted with their seconds.
LLAMA_CPP_2026 = b"""\
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 60
llamacpp:prompt_tokens_cached_total 36
llamacpp:prompt_seconds_total 2.5
llamacpp:tokens_predicted_total 200
llamacpp:tokens_predicted_seconds_total 4.5
llamacpp:predicted_tokens_seconds 44.4
llamacpp:requests_processing 2
llamacpp:requests_deferred 0
llamacpp:n_busy_slots_per_decode 1.5
"""
LLAMA_CPP = b"llamacpp:requests_processing 1\nllamacpp:requests_deferred 3\nllamacpp:kv_cache_usage_ratio 0.125\n"


@pytest.mark.parametrize(
    ("page", "figures"),
    [
        pytest.param(
            VLLM_V0,
            MetricsPage(
                running=3,
                waiting=3,
                kv_cache_usage=0.25,
                cache_tokens=16_000,
                first_token=Total(2.5, 5),
                inter_token=Total(4, 200),
            ),
            id="vllm-v0",
        ),
        pytest.param(
            VLLM_V1_EARLY,
            MetricsPage(
                running=4,
                kv_cache_usage=0.5,
                cache_tokens=1600,
                prefix_hits=Total(40, 100),
                inter_token=Total(1, 50),
            ),
            id="vllm-v1-early",
        ),
        pytest.param(
            VLLM_RENAMING,
            MetricsPage(running=4, kv_cache_usage=0.5, prefix_hits=Total(40, 100), inter_token=Total(1, 50)),
            id="vllm-both-names",
        ),
        pytest.param(
            VLLM_TWO_ENGINES,
            MetricsPage(
                running=6,
                waiting=1,
                kv_cache_usage=0.5,
                cache_tokens=2 * 524_288,
                prefix_hits=Total(800, 2000),
                inter_token=Total(4, 200),
                queue=Total(0.5, 10),
            ),
            id="vllm-two-engines",
        ),
        pytest.param(
            SGLANG,
            MetricsPage(
                running=7,
                waiting=2,
                kv_cache_usage=0.28,
                cache_tokens=4096,
                prefix_hit_rate=0.5,
                first_token=Total(1.5, 3),
            ),
            id="sglang",
        ),
        pytest.param(LLAMA_CPP, MetricsPage(running=1, waiting=3, kv_cache_usage=0.125), id="llama.cpp-2024"),
        pytest.param(
            LLAMA_CPP_2026,
            MetricsPage(running=2, prefix_hits=Total(36, 96), inter_token=Total(4.5, 200)),
            id="llama.cpp-2026",
        ),
    ],
)
def test_every_generations_names_are_read(page: bytes, figures: MetricsPage) -> None:
    assert read_metrics(page) == figures


@pytest.mark.parametrize(
    "page", [b"", b"<html>not found</html>", b'http_requests_total{code="200"} 3.0\n', b"\xff\xfe{}\n"]
)
def test_a_page_of_something_else_tells_nothing(page: bytes) -> None:
    assert read_metrics(page) is None


def test_a_broken_sample_is_left_out() -> None:
    page = b"vllm:num_requests_running 2\nvllm:num_requests_waiting{x=\nvllm:kv_cache_usage_perc NaN\n"
    assert read_metrics(page) == MetricsPage(running=2)


def test_time_stamps_and_braces_in_labels_do_no_harm() -> None:
    page = b'vllm:num_requests_running{model_name="a}b{c"} 2.0 1700000000000\n'
    assert read_metrics(page) == MetricsPage(running=2)
