"""What a start of vLLM is said to be doing, from what real ones wrote."""

from __future__ import annotations

from pathlib import Path

from sage_control_plane.request.request import RequestKind
from sage_llm_coordinator.servers.vllm_progress import VllmProgress

RECORDED = Path(__file__).with_name("vllm_cpu_0_32.txt")
# Lines of vLLM 0.10 and 0.11 on a GPU, in their order.
ON_A_GPU = """\
INFO 08-12 09:01:02 [core.py:71] Initializing a V1 LLM engine (v0.10.0) with config: model='Qwen/Qwen3-0.6B'
INFO 08-12 09:01:09 [gpu_model_runner.py:1843] Starting to load model Qwen/Qwen3-0.6B...
Loading safetensors checkpoint shards:  33% Completed | 1/3 [00:02<00:04,  2.10s/it]
INFO 08-12 09:01:20 [backends.py:530] Dynamo bytecode transform time: 5.61 s
INFO 08-12 09:01:29 [monitor.py:34] torch.compile takes 14.20 s in total
INFO 08-12 09:01:31 [gpu_worker.py:276] Available KV cache memory: 13.35 GiB
Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  67%|######7   | 45/67 [00:02<00:01, 21.50it/s]
INFO 08-12 09:01:40 [api_server.py:1818] Starting vLLM API server 0 on http://127.0.0.1:8000
"""


def texts_of(lines: list[str]) -> list[str]:
    """The texts in their order, each once."""
    progress = VllmProgress()
    texts = [progress.text]
    for line in lines:
        progress.read([line])
        if progress.text != texts[-1]:
            texts.append(progress.text)
    return texts


def test_a_recorded_start_on_a_cpu_goes_through_its_stages() -> None:
    assert texts_of(RECORDED.read_text().splitlines()) == [
        "starting vLLM",
        "reading the model's configuration",
        "starting the engine's processes",
        "loading weights",
        "loading weights (0 %)",
        "loading weights (100 %)",
        "allocating the KV cache",
        "opening its API",
    ]


def test_a_start_on_a_gpu_compiles_and_captures() -> None:
    assert texts_of(ON_A_GPU.splitlines()) == [
        "starting vLLM",
        "starting the engine's processes",
        "loading weights",
        "loading weights (33 %)",
        "compiling",
        "allocating the KV cache",
        "capturing CUDA graphs (67 %)",
        "opening its API",
    ]


def test_a_later_stage_is_not_taken_back() -> None:
    progress = VllmProgress()
    progress.read(["Available KV cache memory: 1 GiB", "Starting to load model draft..."])
    assert progress.text == "allocating the KV cache"


def test_what_the_server_does_is_read_from_its_tasks() -> None:
    progress = VllmProgress()
    progress.read(["INFO Supported_tasks: ['generate', 'embed', 'classify']"])
    assert progress.kinds == {RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE, RequestKind.EMBEDDING}
