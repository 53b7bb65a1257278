"""The arguments and variables of a vLLM server that say what it will take of the machine, and how many requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sage_common.errors import InvalidRequestError
from sage_llm_coordinator.servers.devices import Gpu

GIB: Final = 1024**3
KV_SPACE_VARIABLE = "VLLM_CPU_KVCACHE_SPACE"
_UNITS: Final = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# vLLM's own default since 0.11; before it was 0.9.
DEFAULT_UTILIZATION = 0.92
# Requests that it computes at once by its own defaults, since 0.10: on a CPU for each rank, on a GPU, and on one with
# as much memory that is no A100.
SEATS_ON_CPU: Final = 128
SEATS_ON_GPU: Final = 256
SEATS_ON_LARGE_GPU: Final = 1024
LARGE_GPU_BYTES: Final = 70 * GIB


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """What was asked for.

    Attributes:
        gpu_memory_utilization: share of each GPU, or of main memory on a CPU, that the server takes; None if not given.
        kv_bytes: size of its KV cache; None if not given.
        max_model_len: tokens of its longest request; None for the model's own limit.
        max_num_seqs: requests that it computes at once; None if not given.
        max_num_batched_tokens: tokens that it computes at once; None if not given.
        dtype: "auto" for the model's own.
    """

    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    gpu_memory_utilization: float | None = None
    kv_bytes: int | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    dtype: str = "auto"

    @property
    def gpu_count(self) -> int:
        """GPUs that it needs; its ranks, on a CPU."""
        return self.tensor_parallel * self.pipeline_parallel


def seats(options: VllmOptions, gpu: Gpu | None) -> int:
    """Return the requests that vLLM computes at once, given or by its defaults.

    Args:
        gpu: its first one; None on a CPU.
    """
    if options.max_num_seqs is not None:
        return options.max_num_seqs
    if gpu is None:
        default = SEATS_ON_CPU * options.gpu_count
    else:
        large = gpu.total_bytes >= LARGE_GPU_BYTES and "a100" not in gpu.name.lower()
        default = SEATS_ON_LARGE_GPU if large else SEATS_ON_GPU
    return min(default, options.max_num_batched_tokens or default)


def read_options(arguments: Sequence[str], environment: Mapping[str, str]) -> VllmOptions:
    """Read what matters here; the rest is left to vLLM. Raises InvalidRequestError on a value that is none."""
    given = _values(arguments)
    utilization = _first(given, "--gpu-memory-utilization")
    kv_text = _first(given, "--kv-cache-memory-bytes", "--kv-cache-memory")
    space = environment.get(KV_SPACE_VARIABLE, "")
    try:
        return VllmOptions(
            tensor_parallel=int(_first(given, "--tensor-parallel-size", "-tp") or 1),
            pipeline_parallel=int(_first(given, "--pipeline-parallel-size", "-pp") or 1),
            gpu_memory_utilization=float(utilization) if utilization else None,
            kv_bytes=(_bytes(kv_text) if kv_text else int(float(space or 0) * GIB)) or None,
            max_model_len=_bytes(_first(given, "--max-model-len") or "0") or None,
            max_num_seqs=max(0, int(_first(given, "--max-num-seqs") or 0)) or None,
            max_num_batched_tokens=_bytes(_first(given, "--max-num-batched-tokens") or "0") or None,
            dtype=_first(given, "--dtype") or "auto",
        )
    except ValueError as error:
        raise InvalidRequestError(f"an argument of vLLM has a value that is no number: {error}") from None


def _values(arguments: Sequence[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for number, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if not name.startswith("-"):
            continue
        following = arguments[number + 1] if number + 1 < len(arguments) else ""
        values[name.replace("_", "-")] = value if equals else following
    return values


def _first(values: Mapping[str, str], *names: str) -> str:
    return next((values[name] for name in names if name in values), "")


def _bytes(text: str) -> int:
    """Read a number as vLLM does: 4k is 4,000 and 4K is 4,096; 0 for "auto" and -1, which are left to it."""
    if text in ("auto", "-1"):
        return 0
    return int(float(text[:-1]) * _UNITS[text[-1]]) if text[-1:] in _UNITS else int(float(text))
