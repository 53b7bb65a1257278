"""Settings of the servers that a coordinator starts, of whatever kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt
from pydantic import Field

from sage_common.setting_marks import Alias


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Ports, starts and owners of servers.

    Attributes:
        ports: range from which servers get their ports; 0-0: any.
        max_failures: failed starts in a row after which a server is given up.
        orphan_seconds: how long a server goes on without its coordinator, so that another can adopt it.
    """

    ports: Annotated[str, Field(pattern=r"^\d{1,5}-\d{1,5}$"), Alias("vllm_ports")] = "8901-8999"
    max_failures: Annotated[int, Ge(1), Alias("vllm_max_failures")] = 5
    orphan_seconds: Annotated[float, Gt(0), Alias()] = 10.0
