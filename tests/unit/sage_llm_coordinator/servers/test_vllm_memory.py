"""Estimates against figures worked out by hand, and refusals that name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage_common.errors import InvalidRequestError, UnprocessableError
from sage_llm_coordinator.servers.devices import Gpu
from sage_llm_coordinator.servers.model_files import ModelFiles, find_model
from sage_llm_coordinator.servers.vllm_memory import (
    check_gpus,
    check_main_memory,
    cpu_kv_bytes,
    cpu_need,
    gpu_need,
    kv_bytes_per_token,
)
from sage_llm_coordinator.servers.vllm_options import GIB, VllmOptions, read_options

# Llama 3.1 8B: 32 layers, 8 KV heads of 128, bfloat16: 2 * 32 * 8 * 128 * 2 = 128 KiB a token.
LLAMA_8B = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
MODEL = ModelFiles(Path("llama"), 16 * GIB, LLAMA_8B)


def gpu(total: int, free: int, index: str = "0") -> Gpu:
    return Gpu(index, f"GPU-{index}", "L4", total * GIB, free * GIB)


def test_a_token_takes_a_key_and_a_value_in_each_layer() -> None:
    assert kv_bytes_per_token(LLAMA_8B) == 128 * 1024
    assert kv_bytes_per_token(LLAMA_8B, "float32") == 256 * 1024
    assert kv_bytes_per_token({**LLAMA_8B, "head_dim": 256}) == 256 * 1024
    assert kv_bytes_per_token({}) == 0


def test_the_cache_of_a_gpu_must_hold_one_request_of_full_length() -> None:
    need = gpu_need(MODEL, VllmOptions())
    assert (need.weights, need.kv_cache) == (16 * GIB, 16 * GIB)
    assert gpu_need(MODEL, VllmOptions(max_model_len=8192)).kv_cache == GIB


def test_tensor_parallelism_divides_weights_and_cache() -> None:
    need = gpu_need(MODEL, VllmOptions(tensor_parallel=2))
    assert (need.weights, need.kv_cache) == (8 * GIB, 8 * GIB)


def test_another_type_changes_the_weights_but_not_quantised_ones() -> None:
    assert cpu_need(MODEL, VllmOptions(dtype="float32"), GIB).weights == 32 * GIB
    quantised = ModelFiles(Path("q"), 5 * GIB, {**LLAMA_8B, "quantization_config": {"bits": 4}})
    assert cpu_need(quantised, VllmOptions(dtype="float32"), GIB).weights == 5 * GIB


def test_a_gpu_without_room_is_refused_with_the_figures() -> None:
    with pytest.raises(UnprocessableError, match=r"34\.0 GiB .*vLLM may take 22\.1 GiB.*tensor-parallel-size=2"):
        check_gpus(gpu_need(MODEL, VllmOptions()), [gpu(24, 24)], VllmOptions())
    check_gpus(gpu_need(MODEL, VllmOptions(max_model_len=8192)), [gpu(24, 24)], VllmOptions())


def test_a_gpu_that_another_program_uses_is_refused_with_the_share_that_would_fit() -> None:
    with pytest.raises(UnprocessableError, match=r"12\.0 GiB are free.*gpu-memory-utilization=0\.48"):
        check_gpus(gpu_need(None, VllmOptions()), [gpu(24, 12)], VllmOptions())
    check_gpus(gpu_need(None, VllmOptions()), [gpu(24, 12)], VllmOptions(gpu_memory_utilization=0.48))


def test_main_memory_counts_what_is_still_starting() -> None:
    need = cpu_need(None, VllmOptions(), 4 * GIB)
    check_main_memory(need, 7 * GIB, 0)
    with pytest.raises(UnprocessableError, match=r"7\.0 GiB are available, 4\.0 GiB of it for engines") as caught:
        check_main_memory(need, 7 * GIB, 4 * GIB)
    assert caught.value.code == "insufficient_memory"
    assert "--no-memory-check" in caught.value.message


def test_a_small_machine_gets_a_small_cache() -> None:
    assert cpu_kv_bytes(None, VllmOptions(), 64 * GIB) == 4 * GIB
    assert cpu_kv_bytes(None, VllmOptions(), 7 * GIB) == 2 * GIB
    assert cpu_kv_bytes(None, VllmOptions(), GIB) == GIB


def test_options_are_read_as_vllm_reads_them() -> None:
    arguments = ["--tensor-parallel-size=2", "-pp", "2", "--max_model_len", "8K", "--enforce-eager", "--dtype", "half"]
    options = read_options([*arguments, "--gpu-memory-utilization", "0.5"], {"VLLM_CPU_KVCACHE_SPACE": "3"})
    assert (options.gpu_count, options.max_model_len, options.dtype) == (4, 8192, "half")
    assert (options.gpu_memory_utilization, options.kv_bytes) == (0.5, 3 * GIB)
    with pytest.raises(InvalidRequestError, match="no number"):
        read_options(["--tensor-parallel-size", "two"], {})


def test_a_model_is_found_by_its_folder_and_in_the_hubs_cache(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--acme--tiny" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model-1.safetensors").write_bytes(b"x" * 10)
    (snapshot / "model-2.safetensors").write_bytes(b"x" * 5)
    (snapshot / "config.json").write_text('{"text_config": {"num_hidden_layers": 2}}')
    for found in (find_model(str(snapshot), {}), find_model("acme/tiny", {"HF_HOME": str(tmp_path)})):
        assert found is not None
        assert (found.weight_bytes, found.config["num_hidden_layers"]) == (15, 2)
    assert find_model("acme/other", {"HF_HOME": str(tmp_path)}) is None
