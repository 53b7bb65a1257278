"""Engine ``llamacpp``: SAGE starts llama.cpp's OpenAI server itself, for a GGUF file or a packaged model."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from typing import Final, Literal

from pydantic import Field

from sage_common.errors import InvalidRequestError, UnprocessableError
from sage_control_plane.request.request import RequestKind
from sage_llm_coordinator.engines.engine_kind import EngineParts
from sage_llm_coordinator.engines.server_kind import ServerEngineSettings, server_kind
from sage_llm_coordinator.servers import llamacpp_server
from sage_llm_coordinator.servers.gguf import GgufModel, read_gguf
from sage_llm_coordinator.servers.llamacpp_server import DEFAULT_CONTEXT_TOKENS, DEFAULT_SLOTS, LlamacppOptions
from sage_llm_coordinator.servers.machine_memory import available_bytes
from sage_llm_coordinator.servers.packaged_models import GGUF, INSTALL, PACKAGED_ARGUMENTS, gguf_path, is_gguf
from sage_llm_coordinator.servers.program import OccupiedRoom, ServerRoom
from sage_llm_coordinator.servers.vllm_memory import RESERVE_BYTES, gigabytes

_MIB: Final = 1 << 20
# Python, llama.cpp and its buffers: 150 MB resident beside weights and caches, with SmolLM2-135M.
OVERHEAD_BYTES: Final = 200 * _MIB
_ENDS_OF_NO_USE: Final = (
    ("No module named 'xllamacpp'", f"llama.cpp is not installed; {INSTALL}"),
    ("libgomp.so.1: cannot open", "llama.cpp needs libgomp; on Debian `apt-get install libgomp1` installs it"),
    ("failed to load model", "llama.cpp cannot load the model; `sage engine logs` has its words"),
    ("OptionsError:", "an argument of the engine is none that its server has; `sage engine logs` names it"),
)


class LlamacppEngineSettings(ServerEngineSettings):
    """One engine of the kind."""

    kind: Literal["llamacpp"] = "llamacpp"
    model: str = Field("", description="a GGUF file, or a packaged model: smollm2-135m")
    max_concurrency: int = Field(
        0, ge=0, le=256, description="its slots: requests computed at once, each with a context of its own; 0: 4"
    )
    context_tokens: int = Field(
        DEFAULT_CONTEXT_TOKENS, ge=1, description="prompt and answer together, for each slot; at most the model's own"
    )
    threads: int = Field(0, ge=0, description="threads that compute; 0: half of the cores")
    check_memory: bool = Field(True, description="refuse a start that the machine's memory has no room for")
    # llama.cpp goes on with an assistant's message that comes last.
    continues_chats: bool | None = Field(True, description="whether its broken streams may be continued")

    @property
    def model_name(self) -> str:
        """The file's name without its ending, or the packaged model's."""
        name = super().model_name
        return name[: -len(GGUF)] if name.lower().endswith(GGUF) else name

    @property
    def slots(self) -> int:
        """Requests that it computes at once."""
        return self.max_concurrency or DEFAULT_SLOTS


class LlamacppProgress:
    """Of one start, from the lines that the server's program writes.

    Attributes:
        text: for people.
        kinds: chat and completions; the server has nothing other.
    """

    kinds = frozenset({RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE})

    def __init__(self) -> None:
        self.text = "starting llama.cpp"

    def read(self, lines: Iterable[str]) -> None:
        """Take further lines of the log."""
        for line in lines:
            if line.startswith(llamacpp_server.LOADING):
                self.text = "loading weights"
            elif line.startswith(llamacpp_server.READY):
                self.text = "opening its API"


class LlamacppProgram:
    """llama.cpp's server for one engine."""

    title = "llama.cpp"

    def __init__(self, settings: LlamacppEngineSettings, parts: EngineParts) -> None:
        self._settings = settings

    @property
    def port(self) -> int:
        return self._settings.port

    async def room(self, occupied: OccupiedRoom) -> ServerRoom:
        """Find the model's file and memory for it; raise as ``ServerProgram.room``."""
        settings = self._settings
        given = (
            *PACKAGED_ARGUMENTS.get(settings.model, ()),
            f"--context-tokens={settings.context_tokens}",
            f"--threads={settings.threads}",
            *settings.arguments,
        )
        try:
            options = llamacpp_server.read_options(given)
        except llamacpp_server.OptionsError as error:
            raise InvalidRequestError(f"llama.cpp's server: {error}", param="arguments") from None
        path, model = await asyncio.to_thread(_find, settings.model)
        context = min(options.context_tokens, model.context_tokens or options.context_tokens)
        need = _need(model, settings.slots * context, options)
        if settings.check_memory:
            _check(need, available_bytes() - occupied.starting_bytes - RESERVE_BYTES, settings)
        # The last of an option counts.
        arguments = (*given, f"--context-tokens={context}", "--model", path)
        return ServerRoom(environment={}, arguments=arguments, memory_bytes=need, seats=settings.slots)

    def command(self, port: int, room: ServerRoom) -> list[str]:
        name = ["--served-model-name", self._settings.served_name, "--slots", str(self._settings.slots)]
        module = llamacpp_server.__name__
        return [sys.executable, "-m", module, *name, "--port", str(port), *room.arguments]

    def environment(self, room: ServerRoom) -> dict[str, str]:
        return {**self._settings.environment, **room.environment}

    def progress(self) -> LlamacppProgress:
        return LlamacppProgress()

    def why_hopeless(self, log_tail: str) -> str | None:
        return next((why for sign, why in _ENDS_OF_NO_USE if sign in log_tail), None)


def _find(model: str) -> tuple[str, GgufModel]:
    path = gguf_path(model)
    try:
        return str(path.resolve()), read_gguf(path)
    except OSError as error:
        raise UnprocessableError(f"the model's file cannot be read: {error}") from None


def _need(model: GgufModel, tokens: int, options: LlamacppOptions) -> int:
    cache = tokens * (model.kv_bytes_per_token or 0)
    return model.file_bytes + cache + options.prompt_cache_mib * _MIB + OVERHEAD_BYTES


def _check(need: int, room: int, settings: LlamacppEngineSettings) -> None:
    if need > room:
        raise UnprocessableError(
            f"not enough memory: {settings.model_name!r} needs about {gigabytes(need)} with {settings.slots} slots "
            f"and {gigabytes(max(0, room))} are free; stop another engine, take fewer slots (`--max-concurrency`) or a "
            "shorter context (`--arg=--context-tokens=1024`). `--no-memory-check` starts it all the same",
            code="insufficient_memory",
        )


LLAMACPP = server_kind(
    "llamacpp",
    LlamacppEngineSettings,
    LlamacppProgram,
    seats=lambda settings: settings.slots,
    loads=is_gguf,
)
