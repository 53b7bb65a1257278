"""Jobs on a running mesh: the same by REST, by gRPC and from the command line."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.eventually import eventually
from fixtures.job_surfaces import SURFACES, Cli, JobSurface, Rest
from fixtures.operators import RefusedError
from fixtures.process_mesh import sage as sage_command
from fixtures.process_mesh import static_mesh

import sage
from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_common.errors import UnprocessableError
from sage_common.service_settings import NatsSettings
from sage_platform.nats_connection import connect

TEXTS = [{"n": n, "text": "one"} for n in range(5)]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    settings = {"SAGE_DATAFLOW_WORKER_PROGRESS_INTERVAL_SECONDS": "0.1"}
    with static_mesh(tmp_path_factory.mktemp("jobs"), replicas={"dataflow-worker": 1}, settings=settings) as running:
        yield running


class Streams:
    """Subjects that jobs read from, on the mesh's own server."""

    def __init__(self, mesh: IsolatedMesh) -> None:
        self._mesh = mesh

    def add(self, subject: str) -> None:
        self._run(lambda js: js.add_stream(name=subject, subjects=[subject]))

    def publish(self, subject: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._run(lambda js, n=number: js.publish(subject, b'{"n": %d}' % n))

    def until_counted(self, job_id: str, node: str, records_in: int) -> None:
        """Wait until so many records have come to a node."""
        grpc = SURFACES["grpc"](self._mesh, Path())

        def counted() -> bool:
            progress = {one["node_id"]: int(one["records_in"]) for one in grpc.get(job_id)["progress"]}
            return progress.get(node, 0) >= records_in

        asyncio.run(eventually(counted, seconds=30))

    def _run(self, act: Callable[[Any], Awaitable[Any]]) -> None:
        async def run() -> None:
            connection = await connect(NatsSettings(url=self._mesh.nats_url), name="test")
            await act(connection.jetstream())
            await connection.close()

        asyncio.run(run())


@pytest.fixture
def streams(mesh: IsolatedMesh) -> Streams:
    return Streams(mesh)


@pytest.fixture(params=SURFACES)
def surface(request: pytest.FixtureRequest, mesh: IsolatedMesh, tmp_path: Path) -> JobSurface:
    return SURFACES[request.param](mesh, tmp_path)


def pipeline(name: str, **nodes: Any) -> str:
    return json.dumps({"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": name}, "nodes": nodes})


def doubled(factor: int = 2) -> str:
    return pipeline(
        "doubled",
        numbers={"op": "source", "records": TEXTS},
        twice={"op": "map", "in": ["numbers"], "fields": {"n": f"n * {factor}"}},
        out={"op": "sink", "in": ["twice"], "uri": "collection:out"},
    )


def endless(subject: str) -> str:
    return pipeline(
        "endless",
        numbers={"op": "source", "uri": f"nats://{subject}", "schema": {"n": "int"}},
        big={"op": "filter", "in": ["numbers"], "where": "n > 3"},
        out={"op": "sink", "in": ["big"], "uri": "collection:out"},
    )


def state(surface: JobSurface, job_id: str) -> str:
    return str(surface.get(job_id)["state"])


def test_a_job_is_submitted_followed_and_read(surface: JobSurface) -> None:
    job_id = f"doubled-{type(surface).__name__}"
    submitted = surface.submit(doubled(), job_id)
    assert (submitted["job_id"], submitted["pipeline"]) == (job_id, "doubled")
    last = surface.watch(job_id)[-1]
    assert (last["state"], last["errors"]) == ("succeeded", [])
    assert [(node["node_id"], int(node["records_out"])) for node in last["progress"]] == [
        ("numbers", 5), ("twice", 5), ("out", 0),
    ]  # fmt: skip
    assert int(last["progress"][0]["records_total"]) == 5
    assert job_id in surface.listed()
    for follow in (True, False):
        events = surface.events(job_id, follow=follow)
        states = [event["state"] for event in events if event["kind"] == "state"]
        assert (states[0], states[-1]) == ("pending", "succeeded")
        assert [event["state"] for event in events if event["kind"] == "task"][-2:] == ["running", "succeeded"]
    for follow in (False, True):
        assert [record["n"] for record in surface.results(job_id, follow=follow)] == [0, 2, 4, 6, 8]
    (task,) = surface.explain(job_id)["tasks"]
    assert (task["state"], task["candidates"][0]["refusal"]) == ("succeeded", "")
    assert task["reason"]


def test_a_wrong_pipeline_is_a_failed_job_with_its_errors(surface: JobSurface) -> None:
    wrong = pipeline("wrong", numbers={"op": "sauce"}, out={"op": "sink", "in": ["gone"], "uri": "collection:out"})
    job = surface.submit(wrong, f"wrong-{type(surface).__name__}")
    assert job["state"] == "failed"
    assert any("sauce" in error for error in job["errors"])
    assert any("gone" in error for error in job["errors"])


def test_what_is_not_there_is_not_found(surface: JobSurface) -> None:
    for ask in (surface.get, surface.watch, surface.explain, surface.results, surface.dead_letters):
        with pytest.raises(RefusedError, match=r"no job 'nobody'|no results of a job 'nobody'"):
            ask("nobody")
    for verb in ("pause", "cancel", "savepoint"):
        with pytest.raises(RefusedError, match="no job 'nobody'"):
            surface.act(verb, "nobody")
    with pytest.raises(RefusedError, match="no job 'nobody'"):
        surface.resume("nobody")
    with pytest.raises(RefusedError, match="no job 'nobody'"):
        surface.replay("nobody", "again")


def test_a_job_stops_behind_a_checkpoint_and_goes_on(surface: JobSurface, streams: Streams) -> None:
    job_id = f"endless-{type(surface).__name__}"
    streams.add(job_id)
    surface.submit(endless(job_id), job_id)
    streams.publish(job_id, range(3, 6))
    streams.until_counted(job_id, "big", 3)
    assert surface.act("savepoint", job_id)["state"] == "running"
    with pytest.raises(RefusedError, match=r"runs|running"):
        surface.resume(job_id)
    assert surface.act("pause", job_id)["state"] == "paused"
    streams.publish(job_id, range(6, 8))
    changed = endless(job_id).replace("n > 3", "n > 6")
    kept = surface.resume(job_id, changed, diff=True)
    assert kept["job"]["state"] == "paused"
    assert any(line.startswith("numbers") or "'numbers'" in line for line in kept["plan"]), kept["plan"]
    resumed = surface.resume(job_id, changed)
    assert resumed["job"]["state"] in ("pending", "running")
    # What has come to the sink is published a moment later; a cancellation in between would leave it out.
    asyncio.run(eventually(lambda: len(surface.results(job_id)) == 3, seconds=40))
    assert surface.act("cancel", job_id)["state"] == "cancelled"
    assert state(surface, job_id) == "cancelled"
    assert [record["n"] for record in surface.results(job_id)] == [4, 5, 7]


def test_records_that_failed_are_listed_and_sent_again(surface: JobSurface) -> None:
    job_id = f"poisoned-{type(surface).__name__}"
    poisoned = pipeline(
        "poisoned",
        numbers={"op": "source", "records": [*TEXTS, {"n": 9, "text": "x" * 600_000}]},
        asked={"op": "llm", "in": ["numbers"], "prompt": "{text}", "model": "nobody-serves-it", "on_error": "dlq"},
        out={"op": "sink", "in": ["asked"], "uri": "collection:out"},
    )
    surface.submit(poisoned, job_id)
    assert surface.watch(job_id)[-1]["state"] == "succeeded"
    letters = surface.dead_letters(job_id, "asked")
    assert sorted(letter["record"]["n"] for letter in letters) == [0, 1, 2, 3, 4, 9]
    assert {letter["node_id"] for letter in letters} == {"asked"}
    assert "nobody-serves-it" in letters[0]["error"]
    replayed = surface.replay(job_id, f"{job_id}-again")
    assert (replayed["job"]["job_id"], int(replayed["records"])) == (f"{job_id}-again", 6)


def test_one_command_explains_a_job_as_it_does_a_request(mesh: IsolatedMesh, tmp_path: Path) -> None:
    Cli(mesh, tmp_path).submit(doubled(), "explained")
    assert Cli(mesh, tmp_path).watch("explained")[-1]["state"] == "succeeded"
    lines = sage_command(mesh, "explain", "explained").splitlines()
    assert lines[0].startswith("explained succeeded: ")
    assert lines[1].startswith("task 0 succeeded on ")
    told = json.loads(sage_command(mesh, "explain", "explained", "--json"))
    assert (told["job"]["state"], told["tasks"][0]["state"]) == ("succeeded", "succeeded")
    with pytest.raises(AssertionError, match=r"no scheduler remembers a request 'nobody'.*there is no job 'nobody'"):
        sage_command(mesh, "explain", "nobody")


def test_a_page_of_another_site_submits_nothing(mesh: IsolatedMesh, tmp_path: Path) -> None:
    request = urllib.request.Request(f"{mesh.gateway_url}/v1/management/jobs?job_id=foreign", doubled().encode())
    request.add_header("origin", "https://elsewhere.example")
    request.add_header("content-type", "application/json")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    with refused.value as answer:
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (403, "cross_origin")
    assert "foreign" not in Rest(mesh, tmp_path).listed()


@pytest.fixture(params=["http", "nats", "grpc"])
def target(request: pytest.FixtureRequest, mesh: IsolatedMesh) -> str:
    port = mesh.processes("dataflow-worker")[0].ports["grpc"]
    targets = {"http": mesh.gateway_url, "nats": mesh.nats_url, "grpc": f"grpc://127.0.0.1:{port}"}
    return targets[str(request.param)]


def poisoned() -> sage.Pipeline:
    p = sage.Pipeline("poisoned")
    numbers = p.source(records=[{"n": n, "d": n % 3} for n in range(7)])
    numbers.map(fields={"q": "CAST(CAST(n AS STRING) || CASE WHEN d = 0 THEN 'x' ELSE '' END AS BIGINT)"},
                on_error="dlq").sink("collection:out", node_id="out")  # fmt: skip
    return p


def test_a_pipeline_in_python_runs_on_the_mesh_as_it_does_here(target: str) -> None:
    counted: dict[str, int] = {}
    here = poisoned().run("local")
    there = poisoned().run(
        "mesh", target=target, on_progress=lambda node, counts: counted.update({node: counts.records_in})
    )
    assert there.collections == here.collections
    assert there.dead_letters == here.dead_letters
    assert [letter.record["n"] for letter in there.dead_letters] == [0, 3, 6]
    assert there.counts["out"].records_in == counted["out"] == 4


def test_a_job_that_fails_says_why_in_python(target: str) -> None:
    wrong = sage.Pipeline("wrong")
    wrong.source("jsonl:/nowhere/allowed.jsonl", schema={"n": "int"}).sink("collection:out")
    with pytest.raises(UnprocessableError, match=r"allowed_roots"):
        wrong.run("mesh", target=target)


def test_a_client_submits_and_follows(target: str) -> None:
    if target.startswith("grpc"):
        pytest.skip("a worker answers no chats, so no client connects to it")
    with sage.UnifiedInferenceClient.create(target) as client:
        job = client.submit(poisoned())
        jobs = client.jobs()
        assert [one.state for one in jobs.watch(job.job_id)][-1] == "succeeded"
        assert sorted(r["n"] for piece in jobs.results(job.job_id) for r in piece.records) == [1, 2, 4, 5]
        assert jobs.dead_letters(job.job_id).total == 3
        assert jobs.cancel(job.job_id).state == "succeeded"
        assert jobs.get(job.job_id).ended
