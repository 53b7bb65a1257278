from __future__ import annotations

import asyncio
import json
import urllib.request

from sage_benchmark.http_client import fetch
from sage_benchmark.live.simulated_pool import inject, simulated_pool
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_benchmark.workload.engine_fault import EngineFault, FaultKind


def faults_of(url: str) -> dict[str, object]:
    with urllib.request.urlopen(f"{url}/sim/faults", timeout=5) as response:
        value: dict[str, object] = json.load(response)
    return value


def models_at(url: str) -> list[str]:
    with urllib.request.urlopen(f"{url}/v1/models", timeout=5) as response:
        return [model["id"] for model in json.load(response)["data"]]


def test_an_engine_has_an_address_that_lists_its_embedding_model_alone() -> None:
    body = json.dumps({"model": "simulated-embedding", "input": ["hello"]}).encode()
    with simulated_pool(1, SimulatedModels()) as pool:
        [url], [embedding_url] = pool.urls, pool.embedding_urls
        assert models_at(url) == ["simulated", "simulated-embedding"]
        assert models_at(embedding_url) == ["simulated-embedding"]
        fetch(f"{embedding_url}/v1/embeddings", body)
        # It is the same engine: the first address has the request in its record.
        assert [entry["kind"] for entry in json.loads(fetch(f"{url}/sim/record"))["requests"]] == ["EMBEDDING"]
        pool.engines[0].kill()
        pool.recover()
        assert (pool.urls, pool.embedding_urls) == ([url], [embedding_url])
        assert models_at(embedding_url) == ["simulated-embedding"]


async def test_engines_recover_from_their_faults_at_the_same_addresses() -> None:
    with simulated_pool(2, SimulatedModels()) as pool:
        urls = pool.urls
        await inject(EngineFault(FaultKind.SLOW, 0.0, factor=7.0), pool)
        assert faults_of(urls[0])["slowdown"] == 7.0
        assert faults_of(urls[1])["slowdown"] == 1.0
        await asyncio.to_thread(pool.recover)
        assert faults_of(urls[0])["slowdown"] == 1.0
        await inject(EngineFault(FaultKind.DIE, 0.0), pool)
        assert [engine.running for engine in pool.engines] == [False, True]
        await asyncio.to_thread(pool.recover)
        assert [engine.running for engine in pool.engines] == [True, True]
        assert pool.urls == urls
        assert [engine.requests_held() for engine in pool.engines] == [0, 0]
    assert not any(engine.running for engine in pool.engines)
