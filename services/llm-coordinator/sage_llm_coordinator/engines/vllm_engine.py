"""Engine ``vllm``: SAGE starts vLLM's OpenAI server itself."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import Field

from sage_common.errors import InvalidRequestError
from sage_common.logging import get_logger
from sage_common.setting_marks import Alias
from sage_llm_coordinator.engines.engine_kind import EngineParts
from sage_llm_coordinator.engines.server_kind import ServerEngineSettings, server_kind
from sage_llm_coordinator.kv_cache.following import can_follow
from sage_llm_coordinator.kv_cache.kv_events import FeedAddress
from sage_llm_coordinator.servers.devices import DevicePreference, Gpu, choose_gpus, list_gpus, read_preference
from sage_llm_coordinator.servers.machine_memory import available_bytes, total_bytes
from sage_llm_coordinator.servers.model_files import ModelFiles, find_model
from sage_llm_coordinator.servers.ports import HOST
from sage_llm_coordinator.servers.program import OccupiedRoom, ServerRoom
from sage_llm_coordinator.servers.vllm_memory import (
    check_gpus,
    check_main_memory,
    cpu_kv_bytes,
    cpu_need,
    gpu_need,
)
from sage_llm_coordinator.servers.vllm_options import GIB, KV_SPACE_VARIABLE, VllmOptions, read_options, seats
from sage_llm_coordinator.servers.vllm_progress import VllmProgress
from sage_platform.supervision.guarded_process import socket_path

log = get_logger(__name__)

# With these the server publishes nothing, or to where its operator says.
_WITHOUT_EVENTS: Final = frozenset(
    {"--kv-events-config", "--no-enable-prefix-caching", "--data-parallel-size", "-dp", "--data-parallel-rank"}
)


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """What all engines of the kind share.

    Attributes:
        python: Python that has vLLM; empty takes the one that runs this service.
    """

    python: Annotated[str, Alias("vllm_python")] = ""


class VllmEngineSettings(ServerEngineSettings):
    """One engine of the kind."""

    kind: Literal["vllm"] = "vllm"
    device: str = Field("", description="cpu, cpu:0-3 (cores), cuda, cuda:0,1 (GPUs); empty chooses")
    check_memory: bool = Field(True, description="refuse a start that the machine's memory has no room for")
    kv_events: bool = Field(
        True, description="have its server tell what is in its prefix cache, which decides on where prompts are sent"
    )


class VllmProgram:
    """vLLM's server for one engine."""

    title = "vLLM"

    def __init__(self, settings: VllmEngineSettings, parts: EngineParts) -> None:
        self._settings = settings
        group: VllmSettings = parts.of_kinds.vllm
        self._python = group.python

    @property
    def port(self) -> int:
        return self._settings.port

    async def room(self, occupied: OccupiedRoom) -> ServerRoom:
        """Find GPUs and memory; raise as ``ServerProgram.room``."""
        settings = self._settings
        preference = read_preference(settings.device)
        options = read_options(settings.arguments, settings.environment)
        gpus = choose_gpus(preference, options.gpu_count, await list_gpus(), occupied.devices)
        model = await asyncio.to_thread(find_model, settings.model)
        if model is None and settings.check_memory:
            log.info("the model is not on this machine yet, so its size is not known", model=settings.model)
        return self._on_gpus(gpus, options, model) if gpus else self._on_cpu(preference, options, model, occupied)

    def command(self, port: int, room: ServerRoom) -> list[str]:
        return [
            self._python or sys.executable,
            "-m",
            "vllm.entrypoints.openai.api_server",
            "--model",
            self._settings.model,
            "--served-model-name",
            self._settings.served_name,
            "--host",
            HOST,
            "--port",
            str(port),
            # One line for each health check would push everything else out of the log.
            "--uvicorn-log-level",
            "warning",
            # What of a prompt was cached decides on which answers may be interrupted.
            "--enable-prompt-tokens-details",
            *_events_arguments(self._settings, port),
            *room.arguments,
        ]

    def environment(self, room: ServerRoom) -> dict[str, str]:
        return {**self._settings.environment, **room.environment}

    def progress(self) -> VllmProgress:
        return VllmProgress()

    def why_hopeless(self, log_tail: str) -> str | None:
        if "No module named" not in log_tail or "vllm" not in log_tail.rsplit("No module named", 1)[1]:
            return None
        return (
            "vLLM is not installed in the Python that should run it; `pip install vllm`, or set "
            "SAGE_LLM_COORDINATOR_VLLM_PYTHON to one that has it before `sage up`"
        )

    def _on_gpus(self, gpus: Sequence[Gpu], options: VllmOptions, model: ModelFiles | None) -> ServerRoom:
        if self._settings.check_memory:
            check_gpus(gpu_need(model, options), gpus, options)
        indices = tuple(gpu.index for gpu in gpus)
        # In the bus's order, as nvidia-smi counts them; CUDA's own default puts the fastest first.
        environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(indices)}
        arguments = self._settings.arguments
        if len(gpus) != options.gpu_count:
            arguments = (*arguments, "--tensor-parallel-size", str(len(gpus) // options.pipeline_parallel))
        return ServerRoom(indices, environment, arguments, seats=seats(options, gpus[0]))

    def _on_cpu(
        self, preference: DevicePreference, options: VllmOptions, model: ModelFiles | None, occupied: OccupiedRoom
    ) -> ServerRoom:
        available = available_bytes()
        kv_bytes = options.kv_bytes or cpu_kv_bytes(model, options, available - occupied.starting_bytes)
        if options.gpu_memory_utilization is not None:
            kv_bytes = int(options.gpu_memory_utilization * total_bytes())
        need = cpu_need(model, options, kv_bytes)
        if self._settings.check_memory:
            check_main_memory(need, available, occupied.starting_bytes)
        environment = _cpu_environment(preference, options, kv_bytes)
        arguments = self._settings.arguments
        return ServerRoom((), environment, arguments, memory_bytes=need.total, seats=seats(options, None))


def _cpu_environment(preference: DevicePreference, options: VllmOptions, kv_bytes: int) -> Mapping[str, str]:
    environment = {"VLLM_CPU_OMP_THREADS_BIND": preference.cores} if preference.cores else {}
    if preference.cpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    if not options.kv_bytes and options.gpu_memory_utilization is None:
        environment[KV_SPACE_VARIABLE] = str(kv_bytes // GIB)
    return environment


def _seats(settings: VllmEngineSettings) -> int | None:
    """Return the requests that vLLM computes at once by its arguments; None where they leave it to vLLM."""
    try:
        return read_options(settings.arguments, settings.environment).max_num_seqs
    except InvalidRequestError:
        return None  # the start of its server fails and says what is wrong


def _events(settings: VllmEngineSettings, url: str) -> FeedAddress | None:
    """Return where the server at a URL tells what is in its prefix cache; None where it is not asked to.

    It is a socket in the folder of this user's own: nothing else on the machine reads prompts there. Ranks of data
    parallelism publish each for itself, which no such address allows.
    """
    port = urlsplit(url).port
    given = {argument.partition("=")[0].replace("_", "-") for argument in settings.arguments}
    if not settings.kv_events or not port or given & _WITHOUT_EVENTS or not can_follow():
        return None
    return FeedAddress(*(f"ipc://{socket_path(f'kv-{part}-{port}')}" for part in ("events", "replay")))


def _events_arguments(settings: VllmEngineSettings, port: int) -> list[str]:
    address = _events(settings, f"http://{HOST}:{port}")
    if address is None:
        return []
    config = {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": address.events,
        "replay_endpoint": address.replay,
    }
    return ["--kv-events-config", orjson.dumps(config).decode()]


VLLM = server_kind("vllm", VllmEngineSettings, VllmProgram, seats=_seats, group=VllmSettings, events=_events)
