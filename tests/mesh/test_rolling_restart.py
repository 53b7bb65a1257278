"""`sage restart` under load: every process of every service is another one afterwards, and no client noticed.

Every byte that each client got is compared with what the engines wrote down before they sent it; a job that runs
meanwhile gives every record once.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import polars as pl
import pytest
from fixtures.checked_load import (
    MODELS,
    REAL_MODEL,
    Sending,
    problems_of,
    real_references,
    schedule,
    send,
)
from fixtures.journaled_engines import JournaledEngine, journaled_engines
from fixtures.process_mesh import all_ready, process_mesh, sage, until_engines
from fixtures.received_answers import Exchange

from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_benchmark.simulated_engine.engine_record import RecordEntry
from sage_cli.mesh.services import SERVICES
from sage_common.tasks import end_tasks

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]

ENGINES = 2
# Whoever is replaced has answers under way, of up to four seconds.
STEP_SECONDS = "0.015"
READY_SECONDS = 60.0
ANSWER_SECONDS = 90.0
RESTART_SECONDS = 200.0
BEFORE_SECONDS, AFTER_SECONDS = 2.0, 1.0
ROWS = 3_000


@dataclass
class Rig:
    """A mesh of one process a service, two gateways excepted, in front of engines that keep records."""

    mesh: IsolatedMesh
    engines: list[JournaledEngine]
    directory: Path

    def pids(self) -> dict[str, int]:
        """The running processes by name."""
        return {status.name: status.identity.pid for status in self.mesh.state.processes if status.identity}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    directory = tmp_path_factory.mktemp("rolling")
    with journaled_engines(ENGINES, directory / "journals", ("--step-base-seconds", STEP_SECONDS)) as engines:
        upstreams = [
            {"kind": "openai", "name": engine.name, "url": engine.url, "max_concurrency": 64} for engine in engines
        ]
        settings = {
            # Nothing is refused for its targets, which a busy machine may keep nobody to.
            "SAGE_SCHEDULER_POLICY": "fifo",
            "SAGE_LLM_COORDINATOR_ENGINES": orjson.dumps(upstreams).decode(),
            "SAGE_EMBED_EXECUTOR_STREAMS": "1",
            "SAGE_CLI_GATEWAYS": "2",
            "SAGE_DATAFLOW_WORKER_ALLOWED_ROOTS": orjson.dumps([str(directory)]).decode(),
        }
        replicas = {"embed-executor": 1, "dataflow-worker": 1}
        with process_mesh(directory / "mesh", replicas=replicas, settings=settings) as mesh:
            yield Rig(mesh, engines, directory)


def pipeline(folder: Path) -> bytes:
    """Vectors of some thousand texts, into a collection."""
    folder.mkdir()
    for part in range(4):
        numbers = range(part * ROWS // 4, (part + 1) * ROWS // 4)
        pl.DataFrame({"n": list(numbers), "text": [f"text {n}" for n in numbers]}).write_parquet(
            folder / f"part-{part}.parquet", row_group_size=50
        )
    schema = {"n": "int", "text": "string"}
    nodes: dict[str, Any] = {
        "texts": {"op": "source", "uri": f"parquet:{folder}/*.parquet", "schema": schema},
        "vectors": {"op": "embed", "in": ["texts"], "model": MODELS.embedding},
        "out": {"op": "sink", "in": ["vectors"], "uri": "collection:out"},
    }
    head = {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "restarted"}}
    return orjson.dumps({**head, "settings": {"checkpoint_interval": "500ms"}, "nodes": nodes})


async def restarted(mesh: IsolatedMesh, *arguments: str) -> str:
    """Run ``sage restart``; return what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sage_cli", "restart", *arguments,
        env=mesh.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), RESTART_SECONDS)
    assert process.returncode == 0, said.decode()
    return said.decode()


async def play(rig: Rig, load: list[Sending], job: bytes) -> tuple[str, list[Exchange], list[Exchange], str]:
    """Send the load at its times while everything is restarted; return what was said, references, answers, the job."""
    sending: list[asyncio.Task[None]] = []
    sent: list[Exchange] = []
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    url = rig.mesh.gateway_url
    await until_engines(rig.mesh, all_ready(ENGINES + 1), READY_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        references = await real_references(session, url)
        async with session.post(f"{url}/v1/management/jobs", data=job) as answer:
            submitted = await answer.json()
        assert submitted["state"] != "failed", submitted
        job_id = submitted["job_id"]

        async def restart() -> str:
            await asyncio.sleep(BEFORE_SECONDS)
            said = await restarted(rig.mesh)
            await asyncio.sleep(AFTER_SECONDS)
            return said

        restarting = asyncio.create_task(restart())
        began = time.monotonic()
        try:
            for one in load:
                if restarting.done():
                    break
                await asyncio.sleep(max(0.0, began + one.at - time.monotonic()))
                sent.append(one.exchange)
                sending.append(asyncio.create_task(send(session, url, one.exchange)))
            said = await restarting
            await asyncio.gather(*sending)
        finally:
            await end_tasks(restarting, *sending)
    return said, references, sent, job_id


async def results(url: str, job_id: str) -> list[int]:
    """Wait until the job has ended well; return the numbers in its collection."""
    async with aiohttp.ClientSession() as session:
        return await _results(session, url, job_id)


async def _results(session: aiohttp.ClientSession, url: str, job_id: str) -> list[int]:
    async with session.get(f"{url}/v1/management/jobs/{job_id}/watch") as watch:
        async for _ in watch.content:
            pass
    async with session.get(f"{url}/v1/management/jobs/{job_id}") as answer:
        job = await answer.json()
        assert job["state"] == "succeeded", job
    numbers: list[int] = []
    after = 0
    while True:
        query = f"collection=out&after={after}&limit=1000"
        async with session.get(f"{url}/v1/management/jobs/{job_id}/results?{query}") as answer:
            page = await answer.json()
        numbers += [record["n"] for piece in page["data"] for record in piece["records"]]
        if not page["has_more"]:
            return sorted(numbers)
        after = page["next_after"]


@pytest.mark.long
def test_a_rolling_restart_of_every_service_under_load_fails_no_request(rig: Rig) -> None:
    before = rig.pids()
    load = schedule(seed=23)
    said, references, exchanges, job_id = asyncio.run(play(rig, load, pipeline(rig.directory / "in")))
    after = rig.pids()
    print(said, f"{len(exchanges)} requests")  # noqa: T201

    recorded: defaultdict[str, list[RecordEntry]] = defaultdict(list)
    for engine in rig.engines:
        for entry in engine.record():
            recorded[entry.request_id].append(entry)
    problems = problems_of(exchanges, references, recorded)
    assert not problems, f"{len(problems)} of {len(exchanges)}: {dict(list(problems.items())[:10])}\n{said}"
    assert asyncio.run(results(rig.mesh.gateway_url, job_id)) == list(range(ROWS))

    # Every process is another one, and what came and went beside them is gone.
    assert set(before) == set(after)
    kept = {name for name, pid in after.items() if pid == before[name]}
    assert kept == {"nats"}
    assert {entry.name for entry in SERVICES} <= set(after)


def test_a_service_is_restarted_alone_and_the_mesh_says_what_it_waited_for(rig: Rig) -> None:
    before = rig.pids()
    said = json.loads(sage(rig.mesh, "restart", "classifier", "--json"))
    after = rig.pids()
    assert said == {"restarted": ["classifier"]}
    assert {name for name in after if after[name] != before[name]} == {"classifier"}
    assert REAL_MODEL in sage(rig.mesh, "models")


@pytest.mark.long
def test_a_service_that_does_not_come_up_with_its_new_settings_runs_on_as_it_was(rig: Rig) -> None:
    before = rig.pids()
    config = rig.mesh.directory / "config" / "sage" / "config.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("gateway:\n  no_such_setting: 1\n")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "sage_cli", "restart", "gateway"],
            env=rig.mesh.environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        config.unlink()
    assert done.returncode != 0
    assert "no_such_setting" in done.stderr
    assert rig.pids() == before
    assert REAL_MODEL in sage(rig.mesh, "models")
