"""What ``sage up`` was asked for, flags and settings together, in a form that a detached process can be given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from sage_cli.mesh.services import replica_counts
from sage_cli.settings import CliSettings
from sage_common.config import load
from sage_common.errors import ConfigurationError

# Fact of a supervisor's state that holds its plan.
PLAN_FACT = "plan"
TIMEOUT_SECONDS = 120.0
# Loading a model into vLLM and compiling it takes minutes.
VLLM_TIMEOUT_SECONDS = 900.0


@dataclass(frozen=True)
class MeshPlan:
    """A mesh to bring up.

    Attributes:
        replicas: processes of each service.
        llm: URL of an OpenAI-compatible server, a model for llama.cpp (GGUF) or vLLM, or empty for the configured
            engines.
        embed: embedding model, or empty for the configured one.
        nats_url: a NATS server that runs already, or empty for one that SAGE starts.
        timeout_seconds: longest wait until all is ready.
    """

    replicas: Mapping[str, int]
    llm: str = ""
    embed: str = ""
    nats_url: str = ""
    timeout_seconds: float = TIMEOUT_SECONDS

    @property
    def llm_is_url(self) -> bool:
        """Whether ``llm`` names a server and not a model."""
        return self.llm.startswith(("http://", "https://"))

    def to_json(self) -> str:
        """Write it down."""
        return json.dumps(asdict(self))

    def differences(self, running: MeshPlan) -> list[str]:
        """Return what another mesh would have to be for this plan, compared with one that runs."""
        names = [field.name for field in fields(self) if field.name != "timeout_seconds"]
        pairs = [(name, getattr(running, name), getattr(self, name)) for name in names]
        return [f"{name} is {_shown(is_now)}, not {_shown(asked)}" for name, is_now, asked in pairs if is_now != asked]

    @classmethod
    def from_json(cls, text: str) -> MeshPlan:
        """Read what ``to_json`` wrote."""
        return cls(**json.loads(text))


def make_plan(
    *, llm: str | None, embed: str | None, replicas: list[str], nats_url: str | None, timeout_seconds: float | None
) -> MeshPlan:
    """Settle flags (None where not given) and the settings' section ``cli``.

    Raises:
        ConfigurationError: a malformed ``NAME=N``, an unknown service.
    """
    settings = load(CliSettings)
    chosen_llm = settings.llm if llm is None else llm
    timeout = timeout_seconds or settings.start_timeout_seconds
    plan = MeshPlan(
        replicas=replica_counts({**settings.replicas, **dict(_read_replicas(item) for item in replicas)}),
        llm=absolute_model(chosen_llm.strip()),
        embed=(settings.embed if embed is None else embed).strip(),
        nats_url=(nats_url or "").strip(),
        timeout_seconds=timeout or TIMEOUT_SECONDS,
    )
    if plan.llm and not plan.llm_is_url and not timeout:
        return MeshPlan(**{**asdict(plan), "timeout_seconds": VLLM_TIMEOUT_SECONDS})
    return plan


def absolute_model(model: str) -> str:
    """Return a GGUF file's path as the services of this machine find it; other models as given."""
    path = Path(model).expanduser()
    return str(path.absolute()) if path.suffix.lower() == ".gguf" and path.is_file() else model


def _read_replicas(item: str) -> tuple[str, int]:
    name, separator, count = item.partition("=")
    if not separator or not count.strip().isdecimal():
        raise ConfigurationError(f"--replicas {item!r}: write it as NAME=N, for example --replicas classifier=2")
    return name, int(count)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={count}" for name, count in sorted(value.items()) if count != 1) or "one of each"
    return str(value or "the default")
