"""How many requests a vLLM that SAGE starts computes at once."""

from __future__ import annotations

import pytest

from sage_llm_coordinator.servers.devices import Gpu
from sage_llm_coordinator.servers.vllm_options import GIB, read_options, seats


def gpu(name: str, gibibytes: int) -> Gpu:
    return Gpu("0", "GPU-0", name, gibibytes * GIB, gibibytes * GIB)


@pytest.mark.parametrize(
    ("arguments", "on", "expected"),
    [
        (("--max-num-seqs=7",), None, 7),
        (("--max-num-seqs=7",), gpu("NVIDIA H100 80GB HBM3", 79), 7),
        ((), None, 128),
        (("--tensor-parallel-size=2",), None, 256),
        ((), gpu("NVIDIA L4", 22), 256),
        ((), gpu("NVIDIA H100 80GB HBM3", 79), 1024),
        ((), gpu("NVIDIA H200", 140), 1024),
        ((), gpu("NVIDIA A100-SXM4-80GB", 79), 256),
        (("--max-num-batched-tokens=64",), gpu("NVIDIA L4", 22), 64),
        (("--max-num-batched-tokens=8k",), gpu("NVIDIA L4", 22), 256),
        (("--max-num-seqs=0",), gpu("NVIDIA L4", 22), 256),
    ],
)
def test_vllm_computes_what_it_is_told_or_its_own_default(
    arguments: tuple[str, ...], on: Gpu | None, expected: int
) -> None:
    assert seats(read_options(arguments, {}), on) == expected
