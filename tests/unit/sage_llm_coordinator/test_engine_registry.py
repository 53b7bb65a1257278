"""What a kind of engine makes of its settings."""

from __future__ import annotations

import pytest

from sage_llm_coordinator.engines.openai_engine import SERVER_CONCURRENCY
from sage_llm_coordinator.engines.registry import engine_kind
from sage_llm_coordinator.engines.vllm_engine import VllmEngineSettings


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--max-num-seqs", "7"), 7),
        (("--max-num-seqs=7",), 7),
        (("--max_num_seqs", "7"), 7),
        (("--max_num_seqs=7",), 7),
        (("--max-num-seqs", "3", "--enforce-eager", "--max-num-seqs=7"), 7),
        (("--max-num-batched-tokens", "7"), SERVER_CONCURRENCY),
        (("--max-num-seqs", "many"), SERVER_CONCURRENCY),
        ((), SERVER_CONCURRENCY),
    ],
)
def test_a_vllm_has_as_many_requests_outstanding_as_it_computes_at_once(
    arguments: tuple[str, ...], expected: int
) -> None:
    settings = VllmEngineSettings(model="acme/tiny", arguments=arguments)
    assert engine_kind(settings).max_concurrency(settings) == expected
