"""The program of a llama.cpp server: llama.cpp's own HTTP server, from the package ``xllamacpp``, in this process.

It is started with ``-m``, and imports nothing of SAGE. The coordinator reads its options with the same parser, so that
what it counts with is what the server gets.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

DEFAULT_SLOTS: Final = 4
DEFAULT_CONTEXT_TOKENS: Final = 4096
DEFAULT_PROMPT_CACHE_MIB: Final = 256
LOADING: Final = "loading"
READY: Final = "listening on"
# What llama.cpp writes at its level 1: errors. Each request makes several lines of the levels above.
_ERRORS_ONLY: Final = 1


@dataclass(frozen=True, slots=True)
class LlamacppOptions:
    """How a server runs its model.

    Attributes:
        context_tokens: of prompt and answer together, for each slot.
        threads: that compute.
        gpu_layers: layers on a GPU; -1 leaves it to llama.cpp.
        prompt_cache_mib: main memory for the KV caches of earlier prompts, beside those of the slots.
        chat_template: in Jinja; empty takes the model's own.
        temperature, top_p: where a request does not say; None leaves them to llama.cpp.
    """

    context_tokens: int
    threads: int
    gpu_layers: int
    prompt_cache_mib: int
    chat_template: str
    temperature: float | None
    top_p: float | None


class OptionsError(ValueError):
    """Options that the server does not have, or values that it does not take."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionsError(message)


def default_threads() -> int:
    """Return half of the cores that this process may use, at least 1.

    llama.cpp's threads wait for each other at every step: one that has to share its core stops them all. With other
    load on two cores, one thread made 34-44 tokens a second and two made 1.3-1.7.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // 2)


def read_options(arguments: Sequence[str]) -> LlamacppOptions:
    """Return the options among a server's arguments.

    Raises:
        OptionsError: unknown ones, and values out of range.
    """
    return _options(_Parser(add_help=False, parents=[_option_parser()], allow_abbrev=False).parse_args(arguments))


def main(arguments: Sequence[str] | None = None) -> None:
    """Load the model and serve it until the process is ended."""
    parser = _Parser(description=__doc__, parents=[_option_parser()], allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=_positive, default=DEFAULT_SLOTS)
    given = parser.parse_args(arguments)
    params = _params(given, _options(given))
    _say(f"{LOADING} {given.model}")
    # Returns when the model answers; it serves in threads of its own.
    server = _server(params)
    _say(f"{READY} {server.listening_address}")
    while True:
        signal.pause()


def _params(given: argparse.Namespace, options: LlamacppOptions) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = given.model
    params.model_alias = {given.served_model_name}
    params.port = given.port
    params.n_parallel = given.slots
    params.n_ctx = given.slots * options.context_tokens
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.n_gpu_layers = options.gpu_layers
    params.cache_ram_mib = options.prompt_cache_mib
    params.chat_template = options.chat_template
    if options.temperature is not None:
        params.sampling.temp = options.temperature
    if options.top_p is not None:
        params.sampling.top_p = options.top_p
    params.endpoint_metrics = True
    # Reached by the coordinator only, over loopback: no pages, and nothing for browsers.
    params.ui = False
    params.cors_origins = f"http://127.0.0.1:{given.port}"
    params.verbosity = _ERRORS_ONLY
    return params


def _server(params: Any) -> Any:
    import xllamacpp

    return xllamacpp.Server(params)


def _option_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--context-tokens", type=_positive, default=DEFAULT_CONTEXT_TOKENS)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--gpu-layers", type=int, default=-1)
    parser.add_argument("--prompt-cache-mib", type=int, default=DEFAULT_PROMPT_CACHE_MIB)
    parser.add_argument("--chat-template", default="")
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--top-p", type=float)
    return parser


def _options(given: argparse.Namespace) -> LlamacppOptions:
    return LlamacppOptions(
        given.context_tokens,
        given.threads if given.threads > 0 else default_threads(),
        given.gpu_layers,
        max(0, given.prompt_cache_mib),
        given.chat_template,
        given.temperature,
        given.top_p,
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
