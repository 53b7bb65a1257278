"""A rolling upgrade: processes of the last release and of this one are one mesh, whichever meet.

Every service runs once of each version. What is asked through either gateway is answered by the engines of either
coordinator, under a scheduler of either; a client of the release joins the ring of this version, and a job is shared by
workers of both.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import polars as pl
import pytest
from fixtures.eventually import eventually
from fixtures.process_mesh import process_mesh, until_engines
from fixtures.released_version import ReleasedVersion, released_version, why_not
from fixtures.worker_processes import until

from sage.dataflow.v1 import dataflow_pb2 as pb
from sage.dataflow.v1 import dataflow_pb2_grpc
from sage_benchmark.gateway_benchmark import static_engine
from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_common.ports import free_port
from sage_platform.grpc_server import channel

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be had"),
]

NEW_MODEL, OLD_MODEL = "of-this-version", "of-the-release"
TOKENS = 12
REQUESTS = 10
FILES, ROWS = 8, 4_000
# The gateway last: it is ready when there are engines.
SERVICES = ("classifier", "scheduler", "llm-coordinator", "embed-executor", "dataflow-worker", "gateway")
EMBEDDING = "all-MiniLM-L6-v2"
# As a program that the release's users have written.
CLIENT = """
import asyncio, json, os, sys
from sage_client.client import AsyncUnifiedInferenceClient
async def main():
    async with await AsyncUnifiedInferenceClient.create(os.environ["SAGE_NATS_URL"]) as client:
        found = {}
        for model in sys.argv[1:]:
            answer = await client.chat("hi", model=model)
            pieces = [piece.text async for piece in client.stream_chat("hi", model=model)]
            found[model] = [answer.text, "".join(pieces)]
        found["vectors"] = len((await client.embed(["one", "two"])).vectors)
        print(json.dumps(found))
asyncio.run(main())
"""


@dataclass
class Mesh:
    """Both versions.

    Attributes:
        gateways: roots of both, the present one's first.
        scheduler: the release's.
        data: folder that jobs may read.
    """

    mesh: IsolatedMesh
    release: ReleasedVersion
    gateways: tuple[str, str]
    scheduler: subprocess.Popen[bytes]
    data: Path

    def leader(self) -> str:
        """Return the instance id of the scheduler that leads the pool."""
        answer = subprocess.run(
            [sys.executable, "-m", "sage_cli", "status", "--json"],
            env=self.mesh.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        pools = json.loads(answer.stdout)["pools"]
        return next((str(pool["leader"]) for pool in pools if pool["pool"] == "main"), "")

    def new_scheduler_leads(self) -> bool:
        """Whether the present version's leads."""
        return self.leader().startswith(f"scheduler-{self.mesh.process('scheduler').pid}-")

    def old_scheduler_leads(self) -> bool:
        """Whether the release's leads."""
        return self.leader().startswith(f"scheduler-{self.scheduler.pid}-")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("versions")
    release = released_version(directory / "release")
    port = free_port()
    with ExitStack() as running:
        new = running.enter_context(static_engine("--model", NEW_MODEL, "--tokens", str(TOKENS), "--gap-ms", "5"))
        old = running.enter_context(static_engine("--model", OLD_MODEL, "--tokens", str(TOKENS), "--gap-ms", "5"))
        replicas = {"embed-executor": 1, "dataflow-worker": 1}
        (data := directory / "data").mkdir()
        jobs = {
            "SAGE_DATAFLOW_WORKER_ALLOWED_ROOTS": json.dumps([str(data)]),
            "SAGE_DATAFLOW_WORKER_PLACEMENT": "spread",
            "SAGE_DATAFLOW_WORKER_MAX_TASKS": "2",
        }
        mesh = running.enter_context(process_mesh(directory / "mesh", llm=new, replicas=replicas, settings=jobs))
        engines = json.dumps([{"kind": "openai", "url": f"{old}/v1", "name": "old"}])
        settings = {
            "gateway": {"SAGE_GATEWAY_PORT": str(port)},
            "llm-coordinator": {"SAGE_LLM_COORDINATOR_ENGINES": engines},
        }
        started = {
            service: running.enter_context(
                release.process(mesh, service, directory / f"{service}.log", settings.get(service))
            )
            for service in (
                "classifier",
                "scheduler",
                "llm-coordinator",
                "embed-executor",
                "dataflow-worker",
                "gateway",
            )
        }
        found = Mesh(mesh, release, (mesh.gateway_url, f"http://127.0.0.1:{port}"), started["scheduler"], data)
        asyncio.run(_until_ready(found))
        yield found


async def _until_ready(both: Mesh) -> None:
    def ready(engines: list[dict[str, Any]]) -> bool:
        return len(engines) == 4 and {one["phase"].lower() for one in engines} == {"ready"}

    await until_engines(both.mesh, ready, 90)
    async with aiohttp.ClientSession() as session:

        async def answers() -> bool:
            try:
                async with session.get(f"{both.gateways[1]}/ready") as answer:
                    return answer.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await eventually(answers, seconds=60)


async def chat(session: aiohttp.ClientSession, gateway: str, model: str, *, stream: bool) -> int:
    """Ask; return how many tokens of the answer came."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    async with session.post(f"{gateway}/v1/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()
        if not stream:
            return int((await response.json())["usage"]["completion_tokens"])
        events = [line for line in (await response.text()).splitlines() if line.startswith("data: ")]
        assert events[-1] == "data: [DONE]"
        deltas = [json.loads(line[6:])["choices"] for line in events[:-1]]
        return sum(bool(choices and choices[0]["delta"].get("content")) for choices in deltas)


async def ask_all_ways(both: Mesh) -> None:
    """Ask both gateways for both engines' models, whole and streamed, many at once."""
    async with aiohttp.ClientSession() as session:
        answers = await asyncio.gather(
            *(
                chat(session, gateway, model, stream=stream)
                for gateway in both.gateways
                for model in (NEW_MODEL, OLD_MODEL)
                for stream in (False, True)
                for _ in range(REQUESTS)
            )
        )
        assert answers == [TOKENS] * len(answers)
        for gateway in both.gateways:
            body = {"model": EMBEDDING, "input": ["one", "two"]}
            async with session.post(f"{gateway}/v1/embeddings", json=body) as response:
                assert response.status == 200, await response.text()
                assert len((await response.json())["data"]) == 2


def test_this_versions_scheduler_serves_the_releases_gateway_and_executors(both: Mesh) -> None:
    assert both.new_scheduler_leads()
    asyncio.run(ask_all_ways(both))


def test_a_client_of_the_release_joins_the_ring(both: Mesh) -> None:
    found = json.loads(both.release.run(both.mesh, CLIENT, NEW_MODEL, OLD_MODEL))
    assert found["vectors"] == 2
    for model in (NEW_MODEL, OLD_MODEL):
        whole, streamed = found[model]
        assert whole == streamed
        assert len(whole.split()) == TOKENS


def test_the_lead_goes_to_the_release_and_back_with_requests_under_way(both: Mesh) -> None:
    async def meanwhile(begin: Any, then: Any) -> None:
        asking = asyncio.create_task(ask_all_ways(both))
        await asyncio.sleep(0.02)  # the answers take longer
        begin()
        await asking
        await eventually(lambda: asyncio.to_thread(then), seconds=30)
        await ask_all_ways(both)

    killed = 0

    def kill() -> None:
        nonlocal killed
        process = both.mesh.process("scheduler")
        killed = process.pid
        process.kill()

    def old_scheduler_leads() -> bool:
        # Started again it may be in time for the lease that it left, and is as good a leader as the release's.
        if both.new_scheduler_leads():
            kill()
        return both.old_scheduler_leads()

    asyncio.run(meanwhile(kill, old_scheduler_leads))
    both.mesh.wait_ready("scheduler", not_pid=killed)
    asyncio.run(meanwhile(both.scheduler.kill, both.new_scheduler_leads))


async def test_workers_of_both_share_a_job(both: Mesh) -> None:
    folder = both.data / "in"
    folder.mkdir()
    for number in range(FILES):
        frame = pl.DataFrame({"n": range(number * ROWS, (number + 1) * ROWS)})
        frame.write_parquet(folder / f"part-{number}.parquet", row_group_size=1000)
    pipeline = {
        "apiVersion": "sage/v1",
        "kind": "Pipeline",
        "metadata": {"name": "squares"},
        "nodes": {
            "numbers": {"op": "source", "uri": f"parquet:{folder}/*.parquet", "schema": {"n": "int"}},
            "squares": {"op": "map", "in": ["numbers"], "fields": {"square": "n * n"}},
            "out": {"op": "sink", "in": ["squares"], "uri": "collection:out"},
        },
    }
    port = both.mesh.processes("dataflow-worker")[0].ports["grpc"]
    async with channel(f"127.0.0.1:{port}") as opened:
        stub = dataflow_pb2_grpc.DataflowServiceStub(opened)
        await stub.SubmitJob(pb.SubmitJobRequest(pipeline=json.dumps(pipeline), job_id="squares"))
        await until(stub, "squares", "SUCCEEDED")
        answer = await stub.ExplainJob(pb.ExplainJobRequest(job_id="squares"))
        assert len({task.worker_id for task in answer.tasks}) == 2
        numbers = []
        async for piece in stub.ReadResults(pb.ReadResultsRequest(job_id="squares")):
            if piece.collection:
                numbers += [record["n"] for record in json.loads(piece.json)]
    assert sorted(numbers) == list(range(FILES * ROWS))
