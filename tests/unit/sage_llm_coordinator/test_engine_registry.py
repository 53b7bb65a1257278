"""What a kind of engine makes of its settings."""

from __future__ import annotations

import pytest

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
        (("--max-num-batched-tokens", "7"), None),
        (("--max-num-seqs", "many"), None),
        ((), None),
    ],
)
def test_the_arguments_of_a_vllm_say_how_many_requests_it_computes_at_once(
    arguments: tuple[str, ...], expected: int | None
) -> None:
    settings = VllmEngineSettings(model="acme/tiny", arguments=arguments)
    assert engine_kind(settings).seats(settings) == expected
