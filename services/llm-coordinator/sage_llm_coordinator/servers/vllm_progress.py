"""How far a vLLM server is, from its log. Unknown wording is passed over: it changes with versions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from sage_control_plane.request.request import RequestKind

STARTING = "starting vLLM"
# In the order in which a start goes through them; a later one is never taken back by an earlier.
STAGES: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("reading the model's configuration", re.compile(r"Resolved architecture|Resolved `?--runner|Using max model len")),
    ("starting the engine's processes", re.compile(r"Initializing a V\d LLM engine|Initializing an LLM engine")),
    ("loading weights", re.compile(r"[Ss]tarting to load model|Loading model weights|Loading \w+ checkpoint shards")),
    (
        "compiling",
        re.compile(
            r"torch\.compile (?:took|takes)|Dynamo bytecode transform|Compiling a graph|Start compiling|"
            r"Warming up model for the compilation"
        ),
    ),
    (
        "allocating the KV cache",
        re.compile(r"Available KV cache memory|KV cache size|GPU blocks:|GiB for KV cache|VLLM_CPU_KVCACHE_SPACE"),
    ),
    ("capturing CUDA graphs", re.compile(r"Capturing (?:CUDA|cudagraph|the model)", re.IGNORECASE)),
    ("opening its API", re.compile(r"[Ss]tarting vLLM (?:API )?server|Application startup|Supported[_ ]tasks")),
)
_SHARDS = re.compile(r"(?:checkpoint shards|CUDA graphs[^:]*): *(\d+)%")
_TASKS = re.compile(r"Supported[_ ]tasks:? \[([^\]]*)\]")
_KINDS: Final[dict[str, frozenset[RequestKind]]] = {
    "generate": frozenset({RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE}),
    "embed": frozenset({RequestKind.EMBEDDING}),
}


class VllmProgress:
    """Progress of one start, from the lines of its log.

    Attributes:
        text: for people: "loading weights (42 %)".
        kinds: work that the server says it does; empty until it says so.
    """

    def __init__(self) -> None:
        self.text = STARTING
        self.kinds: frozenset[RequestKind] = frozenset()
        self._stage = -1

    def read(self, lines: Iterable[str]) -> None:
        """Take further lines of the log."""
        for line in lines:
            self._read_line(line)

    def _read_line(self, line: str) -> None:
        for number in range(len(STAGES) - 1, max(self._stage, 0) - 1, -1):
            stage, pattern = STAGES[number]
            if pattern.search(line):
                self._stage = number
                percent = _SHARDS.search(line)
                self.text = f"{stage} ({percent[1]} %)" if percent else stage
                break
        tasks = _TASKS.search(line)
        if tasks:
            named = (task.strip(" '\"") for task in tasks[1].split(","))
            self.kinds = frozenset().union(*(_KINDS.get(task, frozenset()) for task in named))
