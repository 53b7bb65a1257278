"""The environment of each service process: settings travel as ``SAGE_<SECTION>_…`` variables."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from sage_cli.mesh.plan import MeshPlan
from sage_cli.mesh.services import ServiceEntry
from sage_platform.nats_cluster import ANY_ADDRESS

# Python 3.11 and later then leave the current folder off the module path, where any file could stand in for a library.
SAFE_PATH = {"PYTHONSAFEPATH": "1"}
# For every Python service. Each yields to what the user has set.
COMMON = {
    **SAFE_PATH,
    # Output reaches the log file line by line, also the last line before a crash.
    "PYTHONUNBUFFERED": "1",
    # glibc otherwise keeps an arena of freed memory for each thread.
    "MALLOC_ARENA_MAX": "2",
    # Tokenizing happens in our own threads; a second pool under it only fights for the cores.
    "TOKENIZERS_PARALLELISM": "false",
}
# These do no numerics to speak of; a pool of BLAS threads in each would only take memory.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
COMPUTING = ("embed-executor", "llm-coordinator")


def service_environment(
    entry: ServiceEntry,
    replica: int,
    plan: MeshPlan,
    nats_url: str,
    configured: Mapping[str, object],
    environ: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Return the variables to set for a replica of a service, on top of ``environ``.

    Args:
        replica: 1 for the first. The first takes the well-known ports unless the user chose others; the others
            take free ones, but for the port that gateways share.
        configured: the service's section of the config file.
    """
    defaults = {**COMMON, **({} if entry.name in COMPUTING else ONE_THREAD)}
    variables = {name: value for name, value in defaults.items() if name not in environ}
    variables["SAGE_NATS_URL"] = nats_url
    ports = {"grpc_port": entry.grpc_port.here, "metrics_port": entry.grpc_port.metrics}
    if entry.http is not None:
        ports["port"] = entry.http.here
    # A successor takes the same ports while its predecessor leaves.
    variables[f"SAGE_{entry.section.upper()}_SHARE_PORTS"] = "true"
    for setting, port in ports.items():
        variable = f"SAGE_{entry.section.upper()}_{setting.upper()}"
        is_shared = setting == "port" and plan.gateways > 0
        if replica > 1 and not is_shared:
            variables[variable] = "0"
        elif variable not in environ and setting not in configured:
            variables[variable] = str(port)
    if plan.advertise:
        # On every address: its own machine's commands and supervisor reach it on loopback.
        for setting, value in (("host", ANY_ADDRESS), ("advertise_host", plan.advertise)):
            variable = f"SAGE_{entry.section.upper()}_{setting.upper()}"
            if variable not in environ and setting not in configured:
                variables[variable] = value
    variables.update(_engine_choice(entry, plan))
    if entry.name == "llm-coordinator":
        variables["SAGE_LLM_COORDINATOR_REPLICA"] = str(replica)
    return variables


def chosen_ports(entry: ServiceEntry, variables: Mapping[str, str]) -> dict[str, int]:
    """Return the fixed ports among ``variables``, by the variable that sets them."""
    prefix = f"SAGE_{entry.section.upper()}_"
    return {
        name: int(value)
        for name, value in variables.items()
        if name.startswith(prefix) and name.endswith("PORT") and value.isdecimal() and value != "0"
    }


def _engine_choice(entry: ServiceEntry, plan: MeshPlan) -> dict[str, str]:
    if entry.name == "llm-coordinator" and plan.llm:
        engine = {"kind": "openai", "url": plan.llm} if plan.llm_is_url else {"model": plan.llm}
        return {"SAGE_LLM_COORDINATOR_ENGINES": json.dumps([engine])}
    if entry.name == "embed-executor" and plan.embed:
        return {"SAGE_EMBED_EXECUTOR_MODEL": plan.embed}
    return {}
