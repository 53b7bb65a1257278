"""What ``sage up`` was asked for, flags and settings together, in a form that a detached process can be given."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from sage_cli.mesh.services import SERVICES, replica_counts, service
from sage_cli.settings import CliSettings
from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_platform.bind_address import is_loopback
from sage_platform.nats_server import loopback_port

# Fact of a supervisor's state that holds its plan.
PLAN_FACT = "plan"
TIMEOUT_SECONDS = 120.0
# Loading a model into vLLM and compiling it takes minutes.
VLLM_TIMEOUT_SECONDS = 900.0
# What makes no other mesh of one that runs.
CLUSTER_SIZES = (3, 5)
_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
BESIDE = frozenset({"timeout_seconds", "studio"})


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
        gateways: processes that share the gateway's port; 0 for as many as ``replicas`` says, each on its own.
        studio: whether the web page runs beside it.
        advertise: address that other machines of the mesh reach this one at; empty for a mesh of one machine.
        join: URLs of the NATS servers of the mesh that this machine joins, joined by commas.
        nats_servers: addresses of the machines that run the servers of a NATS cluster, joined by commas.
    """

    replicas: Mapping[str, int]
    llm: str = ""
    embed: str = ""
    nats_url: str = ""
    timeout_seconds: float = TIMEOUT_SECONDS
    gateways: int = 0
    studio: bool = False
    advertise: str = ""
    join: str = ""
    nats_servers: str = ""

    @property
    def cluster(self) -> list[str]:
        """The machines of the NATS cluster; none where one server is all."""
        return [address for address in self.nats_servers.split(",") if address]

    def most_of_cluster(self) -> str:
        """Say what a server of a NATS cluster waits for."""
        others = [address for address in self.cluster if address != self.advertise]
        return (
            f"the NATS servers of {len(self.cluster) // 2 + 1} of {len(self.cluster)} machines; bring up "
            f"{' and '.join(others)} with `sage up --join` and a token each of `sage mesh token --host ADDRESS`"
        )

    @property
    def llm_is_url(self) -> bool:
        """Whether ``llm`` names a server and not a model."""
        return self.llm.startswith(("http://", "https://"))

    def to_json(self) -> str:
        """Write it down."""
        return json.dumps(asdict(self))

    def differences(self, running: MeshPlan) -> list[str]:
        """Return what another mesh would have to be for this plan, compared with one that runs."""
        names = [field.name for field in fields(self) if field.name not in BESIDE]
        pairs = [(name, getattr(running, name), getattr(self, name)) for name in names]
        return [f"{name} is {_shown(is_now)}, not {_shown(asked)}" for name, is_now, asked in pairs if is_now != asked]

    @classmethod
    def from_json(cls, text: str) -> MeshPlan:
        """Read what ``to_json`` wrote."""
        return cls(**json.loads(text))


def make_plan(
    *,
    llm: str | None,
    embed: str | None,
    replicas: list[str],
    nats_url: str | None,
    timeout_seconds: float | None,
    gateways: int | None = None,
    studio: bool = False,
    services: Sequence[str] | None = None,
    advertise: str = "",
    join: str = "",
    nats_servers: str = "",
) -> MeshPlan:
    """Settle flags (None where not given) and the settings' section ``cli``.

    Args:
        services: the only ones to run; None for all.

    Raises:
        ConfigurationError: a malformed ``NAME=N``, an unknown service, gateways counted in two ways, an address that is
            none, a NATS cluster that could lose no server.
    """
    settings = load(CliSettings)
    chosen_llm = settings.llm if llm is None else llm
    timeout = timeout_seconds or settings.start_timeout_seconds
    given = {**settings.replicas, **dict(_read_replicas(item) for item in replicas)}
    if services is not None:
        chosen = {service(name).name for name in services}
        given = {**{entry.name: 0 for entry in SERVICES if entry.name not in chosen}, **given}
    counts = replica_counts(given)
    sharing = settings.gateways if gateways is None else gateways
    if sharing and counts["gateway"] != 1:
        raise ConfigurationError(
            f"{sharing} gateways on one port and {counts['gateway']} on ports of their own: give --gateways or "
            "--replicas gateway=N, not both"
        )
    plan = MeshPlan(
        replicas=counts,
        llm=absolute_model(chosen_llm.strip()),
        embed=(settings.embed if embed is None else embed).strip(),
        nats_url=(nats_url or "").strip(),
        timeout_seconds=timeout or TIMEOUT_SECONDS,
        gateways=sharing,
        studio=studio,
        advertise=checked_address(advertise),
        join=checked_urls(join),
        nats_servers=_checked_cluster(nats_servers),
    )
    if plan.nats_url and (plan.join or plan.nats_servers):
        raise ConfigurationError("--nats names a server of your own, --join and --nats-cluster those that SAGE runs")
    if plan.nats_url and plan.advertise:
        # Its identities are its own, so nothing would use the mesh's certificates and all would pass in the clear.
        raise ConfigurationError(
            f"--nats names a server of your own; a mesh of several machines runs its own, which asks for the mesh's "
            f"certificates: leave out --nats, or --advertise {plan.advertise}"
        )
    if plan.llm and not plan.llm_is_url and not timeout:
        return MeshPlan(**{**asdict(plan), "timeout_seconds": VLLM_TIMEOUT_SECONDS})
    return plan


def absolute_model(model: str) -> str:
    """Return a GGUF file's path as the services of this machine find it; other models as given."""
    path = Path(model).expanduser()
    return str(path.absolute()) if path.suffix.lower() == ".gguf" and path.is_file() else model


def checked_address(address: str) -> str:
    """Return an IPv4 address or a host name. Raises ConfigurationError: it is neither, or this machine's loopback."""
    plain = address.strip()
    if plain and (not _ADDRESS.fullmatch(plain) or is_loopback(plain)):
        raise ConfigurationError(
            f"{address!r} is no address that other machines reach this one at; give an IPv4 address or a host name, "
            "for example --advertise 10.0.0.1"
        )
    return plain


def checked_urls(urls: str) -> str:
    """Return URLs of NATS servers, joined by commas. Raises ConfigurationError: one of them is none."""
    plain = [url.strip() for url in urls.split(",") if url.strip()]
    for url in plain:
        loopback_port(url)
    return ",".join(plain)


def _checked_cluster(addresses: str) -> str:
    chosen = [checked_address(address) for address in addresses.split(",") if address.strip()]
    if chosen and (len(chosen) not in CLUSTER_SIZES or len(set(chosen)) != len(chosen)):
        raise ConfigurationError(
            f"--nats-cluster names {len(set(chosen))} machines; name three, or five: more than half have to be there, "
            "so two could lose none, and four no more than three"
        )
    return ",".join(chosen)


def _read_replicas(item: str) -> tuple[str, int]:
    name, separator, count = item.partition("=")
    if not separator or not count.strip().isdecimal():
        raise ConfigurationError(f"--replicas {item!r}: write it as NAME=N, for example --replicas classifier=2")
    return name, int(count)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={count}" for name, count in sorted(value.items()) if count != 1) or "one of each"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value or "the default")
