"""``python -m sage_benchmark.simulated_engine --port 0``: a simulated engine; its first line of output is its URL.

With ``--embedding-port`` the second is that of the same engine with its embedding model alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from dataclasses import fields
from pathlib import Path

import uvloop

from sage_benchmark.simulated_engine.engine import SimulatedEngine
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig, SimulatedModels
from sage_middleware.features import load_feature_extractor


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sage_benchmark.simulated_engine", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port (default)")
    parser.add_argument("--model", default=SimulatedModels().llm, help="name of the LLM; empty to serve none")
    parser.add_argument("--embedding-model", default="", help="name of the embedding model (default: none is served)")
    parser.add_argument("--embedding-port", type=int, help="also listen here, with the embedding model alone; 0: any")
    parser.add_argument("--journal", type=Path, help="file to append the record to; it survives kill -9")
    parser.add_argument("--tells-capacity", action="store_true", help="say how many requests it computes at once")
    parser.add_argument("--kv-events", default="", help="ZMQ address to tell of the prefix cache at, as vLLM does")
    parser.add_argument("--kv-events-replay", default="", help="ZMQ address to repeat that at")
    for field in fields(EngineModelConfig):
        name = "--" + field.name.replace("_", "-")
        if field.name == "prefix_cache":
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            parser.add_argument(name, type=type(field.default), default=field.default, help="default %(default)s")
    arguments = parser.parse_args()
    if not arguments.model and not arguments.embedding_model:
        parser.error("--model and --embedding-model are both empty; the engine must serve one")
    if arguments.embedding_port is not None and not arguments.embedding_model:
        parser.error("--embedding-port is given, and no --embedding-model")
    if bool(arguments.kv_events) != bool(arguments.kv_events_replay):
        parser.error("--kv-events and --kv-events-replay go together")
    return arguments


async def _run(arguments: argparse.Namespace, config: EngineModelConfig) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    extract, _ = load_feature_extractor()
    models = SimulatedModels(arguments.model, arguments.embedding_model)
    publisher, cache = None, None
    if arguments.kv_events:
        from sage_benchmark.simulated_engine.published_cache import EventPublisher, PublishedPrefixCache

        publisher = EventPublisher(arguments.kv_events, arguments.kv_events_replay)
        publisher.start()
        cache = PublishedPrefixCache(config.block_tokens, publisher.add)
    engine = SimulatedEngine(
        models,
        config,
        extract,
        arguments.host,
        arguments.port,
        arguments.journal,
        tells_capacity=arguments.tells_capacity,
        cache=cache,
    )
    await engine.start()
    print(engine.url, flush=True)
    if arguments.embedding_port is not None:
        print(await engine.open_for_embeddings(arguments.host, arguments.embedding_port), flush=True)
    await ended.wait()
    engine.close()
    if publisher is not None:
        await publisher.stop()


def main() -> None:
    """Run the program."""
    arguments = _arguments()
    config = EngineModelConfig(**{field.name: getattr(arguments, field.name) for field in fields(EngineModelConfig)})
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_run(arguments, config))


if __name__ == "__main__":
    main()
