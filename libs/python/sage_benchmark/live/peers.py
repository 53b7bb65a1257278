"""The peers: other routers for OpenAI-compatible engines, and how each is started in front of the engines.

Each runs with its own defaults; only where its engines are, and that it is to be quiet, is said to it.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sage_benchmark.workload.request_body import ModelNames
from sage_common.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class PeerStart:
    """What a peer is told.

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
    models: ModelNames = ModelNames()


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
