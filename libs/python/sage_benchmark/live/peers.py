"""The peers: other routers for OpenAI-compatible engines, and what each is told.

Each runs with its own defaults, but for where its engines are, that it is to be quiet, and what its documentation names
for telling it of classes. Where the engines' capacity is to be told, it gets that in its own way too.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sage_benchmark.live.class_labels import LITELLM_LABELS, NO_LABELS, SMG_LABELS, ClassLabels
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_common.errors import InvalidRequestError
from sage_common.ports import free_port


@dataclass(frozen=True, slots=True)
class PeerStart:
    """What a peer is started with.

    Attributes:
        engines: base URLs without ``/v1``.
        port: to listen on, on the loopback.
        metrics_port: for a peer that always opens one.
        directory: for its files.
        embedding_engines: base URLs of the same engines that list their embedding model alone.
        slots: requests that each engine computes at once; 0 where that is not to be told.
        patience_seconds: how long clients wait, for a peer that gives up what it has queued for some time.
    """

    engines: Sequence[str]
    directory: Path
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    models: SimulatedModels = SimulatedModels()
    embedding_engines: Sequence[str] = ()
    slots: int = 0
    patience_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer.

    Attributes:
        requirement: what pip installs.
        program: file name of its program.
        arguments: makes its arguments, and any file that they name.
        environment: further variables.
        labels: how it is told a request's class.
        capacity: how it is told the engines' capacity, for a report; empty where there is no way.
        capacity_untold: what it takes them for where it is not told, for a report.
        workers: what is posted to it once it is up, as pairs of path and body.
    """

    name: str
    requirement: str
    program: str
    arguments: Callable[[PeerStart], list[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: ClassLabels = NO_LABELS
    capacity: str = ""
    capacity_untold: str = ""
    workers: Callable[[PeerStart], list[tuple[str, dict[str, object]]]] = lambda _: []

    def told(self, *, capacity: bool) -> str:
        """What it is told, for a report. ``capacity``: whether the engines' is to be told."""
        if capacity:
            how = self.capacity or "there is no way to tell it the engines' capacity"
        else:
            how = "no capacity" + (f" ({self.capacity_untold})" if self.capacity_untold else "")
        return f"{self.labels.described}; {how}"


# SMG with its default policy, which sends a prompt to where its beginning was sent before.
CACHE_AWARE: Final = "smg-cache-aware"
# The peer whose queue goes by classes.
KNOWS_CLASSES: Final = "smg"


def _router(start: PeerStart) -> list[str]:
    listen = ["--host", "127.0.0.1", "--port", str(start.port), "--prometheus-port", str(start.metrics_port)]
    return ["--worker-urls", *start.engines, *listen]


def _sglang(start: PeerStart) -> list[str]:
    return ["launch", *_router(start), "--log-level", "warn", *_global_limit(start)]


def _vllm(start: PeerStart) -> list[str]:
    return [*_router(start), "--log-level", "warning", *_global_limit(start)]


# Nobody is to be refused for a queue's length: a benchmark counts that as a miss, and here clients wait.
_LONG_QUEUE = 100_000
GLOBAL_LIMIT = "`--max-concurrent-requests` of all engines together, with a queue that is long enough"


def _global_limit(start: PeerStart) -> list[str]:
    if not start.slots:
        return []
    limit = ["--max-concurrent-requests", str(start.slots * len(start.engines))]
    return [*limit, "--queue-size", str(_LONG_QUEUE), "--queue-timeout-secs", str(round(start.patience_seconds))]


def _smg_listening(start: PeerStart) -> list[str]:
    listen = ["--host", "127.0.0.1", "--port", str(start.port), "--prometheus-port", str(start.metrics_port)]
    return ["launch", *listen, "--prometheus-host", "127.0.0.1", "--log-level", "warn"]


def _smg(start: PeerStart) -> list[str]:
    classes = ["--priority-scheduler-enabled", "--priority-scheduler-default-max-class", "interactive"]
    return [*_smg_listening(start), "--policy", "least_load", *classes]


def _smg_cache_aware(start: PeerStart) -> list[str]:
    return [*_smg_listening(start), "--policy", "cache_aware"]


def _smg_workers(start: PeerStart) -> list[tuple[str, dict[str, object]]]:
    # It knows one model a worker, the first that the worker lists: the embedding model is one of its own.
    labels = {"max_running_requests": str(start.slots)} if start.slots else {}
    return [("/workers", {"url": url, "labels": labels}) for url in (*start.engines, *start.embedding_engines)]


def _litellm(start: PeerStart) -> list[str]:
    limit = {"max_parallel_requests": start.slots} if start.slots else {}

    def entry(model: str, url: str) -> dict[str, object]:
        upstream = {"model": f"openai/{model}", "api_base": f"{url}/v1", "api_key": "unused"}
        return {"model_name": model, "litellm_params": upstream | limit}

    config = start.directory / "litellm.yaml"
    models = [model for model in (start.models.llm, start.models.embedding) if model]
    entries = [entry(model, url) for model in models for url in start.engines]
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
        Peer(
            "smg",
            "smg",
            "smg",
            _smg,
            labels=SMG_LABELS,
            capacity="`max_running_requests` of each worker",
            capacity_untold="it takes 64 requests for each worker",
            workers=_smg_workers,
        ),
        Peer(
            CACHE_AWARE,
            "smg",
            "smg",
            _smg_cache_aware,
            capacity="`max_running_requests` of each worker",
            workers=_smg_workers,
        ),
        Peer(
            "litellm",
            "litellm[proxy]",
            "litellm",
            _litellm,
            LITELLM_ENVIRONMENT,
            labels=LITELLM_LABELS,
            capacity="`max_parallel_requests` of each deployment",
        ),
        Peer("sglang-router", "sglang-router", "sglang-router", _sglang, capacity=GLOBAL_LIMIT),
        Peer("vllm-router", "vllm-router", "vllm-router", _vllm, capacity=GLOBAL_LIMIT),
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


def installed_programs(given: Sequence[str]) -> dict[str, Path]:
    """Return the programs of the peers in ``NAME=/path/to/venv`` options, by name.

    Raises:
        InvalidRequestError: an option is not so, or its peer is not installed there.
    """
    found = {}
    for name, environment in read_environments(given).items():
        program = find_program(peer_named(name), environment)
        if program is None:
            raise InvalidRequestError(not_installed(peer_named(name), environment), param="peer_env")
        found[name] = program
    return found


def not_installed(peer: Peer, environment: Path | None) -> str:
    """Say that a peer is not there, and what to do."""
    where = f"in {environment}" if environment is not None else "beside this Python or on the path"
    return (
        f"{peer.name} is not installed: no program {peer.program!r} {where}. Make a virtual environment of its own, "
        f"pip install {peer.requirement!r} into it, and pass --peer-env {peer.name}=/path/to/it"
    )
