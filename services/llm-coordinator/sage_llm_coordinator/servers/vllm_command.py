"""How vLLM's server is started."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from sage_llm_coordinator.servers.ports import HOST


@dataclass(frozen=True, slots=True)
class VllmCommand:
    """How to start the server.

    Attributes:
        python: the Python that has vLLM; empty takes this one.
        arguments: passed on to the server.
        environment: added to this process's environment.
    """

    model: str
    served_model_name: str
    python: str = ""
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def line(self, port: int) -> list[str]:
        """The command line."""
        return [
            self.python or sys.executable,
            "-m",
            "vllm.entrypoints.openai.api_server",
            "--model",
            self.model,
            "--served-model-name",
            self.served_model_name,
            "--host",
            HOST,
            "--port",
            str(port),
            # One line for each health check would push everything else out of the log.
            "--uvicorn-log-level",
            "warning",
            *self.arguments,
        ]

    def full_environment(self) -> dict[str, str]:
        """This process's environment without SAGE's own settings, which may hold other engines' keys."""
        # The service itself is told to leave its current folder and its BLAS threads alone; vLLM sets its own.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SAGE_")}
        return {**kept, "PYTHONUNBUFFERED": "1", **self.environment}
