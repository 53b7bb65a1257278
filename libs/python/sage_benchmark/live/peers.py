"""The peers: other routers for OpenAI-compatible engines, and how each is run in front of the engines.

Each runs with its own defaults; only where its engines are, and that it is to be quiet, is said to it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from sage_benchmark.http_client import fetch
from sage_benchmark.live.simulated_pool import SimulatedPool
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_common.errors import InvalidRequestError, UnavailableError
from sage_common.ports import free_port


@dataclass(frozen=True, slots=True)
class PeerStart:
    """What a peer is started with.

    Attributes:
        engines: base URLs without ``/v1``.
        port: to listen on, on the loopback.
        metrics_port: for a peer that always opens one.
        directory: for its files.
    """

    engines: Sequence[str]
    port: int
    metrics_port: int
    directory: Path
    models: SimulatedModels = SimulatedModels()


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer.

    Attributes:
        requirement: what pip installs.
        program: file name of its program.
        arguments: makes its arguments, and any file that they name.
        environment: further variables.
    """

    name: str
    requirement: str
    program: str
    arguments: Callable[[PeerStart], list[str]]
    environment: Mapping[str, str]


def _router(start: PeerStart) -> list[str]:
    listen = ["--host", "127.0.0.1", "--port", str(start.port), "--prometheus-port", str(start.metrics_port)]
    return ["--worker-urls", *start.engines, *listen]


def _sglang(start: PeerStart) -> list[str]:
    return ["launch", *_router(start), "--log-level", "warn"]


def _vllm(start: PeerStart) -> list[str]:
    return [*_router(start), "--log-level", "warning"]


def _litellm(start: PeerStart) -> list[str]:
    def entry(model: str, url: str) -> dict[str, object]:
        upstream = {"model": f"openai/{model}", "api_base": f"{url}/v1", "api_key": "unused"}
        return {"model_name": model, "litellm_params": upstream}

    config = start.directory / "litellm.yaml"
    entries = [entry(model, url) for model in (start.models.llm, start.models.embedding) for url in start.engines]
    # JSON is YAML.
    config.write_text(json.dumps({"model_list": entries}), encoding="utf-8")
    return ["--config", str(config), "--host", "127.0.0.1", "--port", str(start.port), "--telemetry", "False"]


LITELLM_ENVIRONMENT: Final[dict[str, str]] = {
    # Without it the list of prices is fetched from the internet.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # It listens on the loopback alone; a key would only add the cost of checking it.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}
PEERS: Final[dict[str, Peer]] = {
    peer.name: peer
    for peer in (
        Peer("litellm", "litellm[proxy]", "litellm", _litellm, LITELLM_ENVIRONMENT),
        Peer("sglang-router", "sglang-router", "sglang-router", _sglang, {}),
        Peer("vllm-router", "vllm-router", "vllm-router", _vllm, {}),
    )
}


def peer_named(name: str) -> Peer:
    """Return a peer. Raises InvalidRequestError for an unknown one."""
    peer = PEERS.get(name)
    if peer is None:
        raise InvalidRequestError(f"no peer is called {name!r}; known: {', '.join(PEERS)}", param="peers")
    return peer


def read_environments(given: Sequence[str]) -> dict[str, Path]:
    """Read ``NAME=/path/to/venv`` options. Raises InvalidRequestError for one that is not so, or names no peer."""
    environments = {}
    for item in given:
        name, separator, path = item.partition("=")
        if not separator or not path:
            raise InvalidRequestError(f"--peer-env {item!r}: write it as NAME=/path/to/venv", param="peer_env")
        environments[peer_named(name).name] = Path(path).expanduser()
    return environments


def find_program(peer: Peer, environment: Path | None) -> Path | None:
    """Return the peer's program in its environment, or where none is given beside this Python or on the path.

    None where it is not installed.
    """
    if environment is not None:
        program = environment / "bin" / peer.program
        return program if program.exists() else None
    beside = Path(sys.executable).with_name(peer.program)
    if beside.exists():
        return beside
    found = shutil.which(peer.program)
    return Path(found) if found else None


READY_SECONDS = 90.0
POLL_SECONDS = 0.2
STOP_SECONDS = 10.0


class RunningPeer:
    """One peer's processes."""

    def __init__(self, peer: Peer, process: subprocess.Popen[bytes], port: int, log: Path, engines: int) -> None:
        self._peer = peer
        self._process = process
        self._log = log
        self._engines = engines
        self._url = f"http://127.0.0.1:{port}"

    @property
    def name(self) -> str:
        return self._peer.name

    @property
    def url(self) -> str:
        return self._url

    def prepare(self) -> None:
        """Wait until it answers, as many times in a row as there are engines: it may still avoid one that was away."""
        models = SimulatedModels()
        chat = {"model": models.llm, "max_tokens": 1, "messages": [{"role": "user", "content": "hello"}]}
        deadline = time.monotonic() + READY_SECONDS
        answered, said = 0, ""
        while answered < self._engines:
            if self._process.poll() is not None:
                raise self._failed(f"ended with status {self._process.returncode}")
            said = _post(f"{self._url}/v1/chat/completions", chat)
            answered = 0 if said else answered + 1
            if said and time.monotonic() > deadline:
                raise self._failed(f"did not answer within {READY_SECONDS:g} s; at last: {said}")
            if said:
                time.sleep(POLL_SECONDS)

    def cpu_seconds(self) -> Mapping[str, float]:
        main = psutil.Process(self._process.pid)
        total = 0.0
        for process in (main, *main.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue  # it has ended since it was listed
            total += times.user + times.system
        return {self._peer.name: total}

    def stop(self) -> None:
        """End it and whatever it has started."""
        try:
            family = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        self._process.terminate()
        _, left = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for process in left:
            process.kill()
        self._process.wait(STOP_SECONDS)

    def _failed(self, what: str) -> UnavailableError:
        tail = self._log.read_text(errors="replace")[-2000:]
        return UnavailableError(f"the peer {self._peer.name} {what}; its log ends with:\n{tail}")


@contextmanager
def running_peer(peer: Peer, program: Path, directory: Path, pool: SimulatedPool) -> Iterator[RunningPeer]:
    """Run a peer for as long as the context lasts. Raises UnavailableError where it does not come up."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    start = PeerStart(pool.urls, port, free_port(), directory)
    log = directory / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(program.absolute()), *peer.arguments(start)],
            cwd=directory,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | dict(peer.environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    running = RunningPeer(peer, process, port, log, len(pool.engines))
    try:
        running.prepare()
        yield running
    finally:
        running.stop()


def _post(url: str, body: dict[str, object]) -> str:
    """Post; return what was wrong, or nothing."""
    try:
        fetch(url, json.dumps(body).encode())
    except OSError as error:
        return str(error)
    return ""
