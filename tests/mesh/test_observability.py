"""One trace with every hop, and metrics that dashboards and alerts can ask for.

A mesh of processes, a collector that it sends its spans to, and a Prometheus that scrapes it.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from fixtures.eventually import eventually
from fixtures.observability_files import FOLDER, asked
from fixtures.otlp_receiver import OtlpReceiver, ReceivedSpan, otlp_receiver
from fixtures.process_mesh import process_mesh, sage
from fixtures.prometheus import PROMETHEUS, PROMTOOL, Prometheus, prometheus
from fixtures.talking_upstream import TalkingUpstream, talking_upstream

from sage.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from sage.inference.v1.generation_pb2 import ChatMessage
from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_common.trace_context import trace_id_of, unrecorded_traceparent
from sage_platform.mesh_tls.secured_folder import SecuredFolder

SECRET = "the word that no span may hold"
PIPELINE = {
    "apiVersion": "sage/v1",
    "kind": "Pipeline",
    "metadata": {"name": "asks"},
    "nodes": {
        "texts": {"op": "source", "records": [{"text": SECRET}]},
        "answers": {"op": "llm", "in": ["texts"], "prompt": "{text}", "model": "talks", "into": "answer"},
        "out": {"op": "sink", "in": ["answers"], "uri": "collection:out"},
    },
}


@dataclass
class TracedMesh:
    mesh: IsolatedMesh
    collector: OtlpReceiver
    chats: list[TalkingUpstream]
    vectors: TalkingUpstream
    broken: list[str]

    def post(self, path: str, body: object, traceparent: str = "") -> tuple[int, bytes, str]:
        """Send a request; return its status, its answer and its id."""
        headers = {"Content-Type": "application/json", **({"traceparent": traceparent} if traceparent else {})}
        request = urllib.request.Request(f"{self.mesh.gateway_url}{path}", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read(), response.headers["x-request-id"]
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers["x-request-id"]

    def hops(self, trace_id: str, *names: str) -> dict[str, ReceivedSpan]:
        """Wait for the spans with these names, and return them; every other of the trace hangs together with them."""
        spans = self.collector.until(trace_id, lambda found: set(names) <= {_name(span) for span in found})
        return {_name(span): span for span in spans}


def _name(span: ReceivedSpan) -> str:
    """The span's service and name, without the engine's."""
    return f"{span.service.removeprefix('sage-')}: {re.sub(r' on .*', '', span.name)}"


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedMesh]:
    broken: list[str] = []
    with ExitStack() as stack:
        collector = stack.enter_context(otlp_receiver())
        chats = [stack.enter_context(talking_upstream("talks", broken)) for _ in range(2)]
        vectors = stack.enter_context(talking_upstream("vectors", []))
        engines = [
            *({"kind": "openai", "name": f"chat-{n}", "url": chat.url} for n, chat in enumerate(chats)),
            {"kind": "openai", "name": "vectors", "url": vectors.url, "kinds": ["embedding"]},
        ]
        settings = {
            "SAGE_TELEMETRY_OTLP_ENDPOINT": collector.url,
            "SAGE_LLM_COORDINATOR_ENGINES": json.dumps(engines),
            # OpenTelemetry's own variable: spans leave sooner than in five seconds.
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        directory = tmp_path_factory.mktemp("traced")
        mesh = stack.enter_context(process_mesh(directory, replicas={"dataflow-worker": 1}, settings=settings))
        yield TracedMesh(mesh, collector, chats, vectors, broken)


def recorded() -> str:
    """A caller's context that asks to be recorded."""
    return unrecorded_traceparent()[:-2] + "01"


def chat(**fields: object) -> dict[str, object]:
    return {"model": "talks", "messages": [{"role": "user", "content": SECRET}], **fields}


CHAT_HOPS = (
    "gateway: POST /v1/chat/completions",
    "gateway: chat talks",
    "classifier: classify",
    "scheduler: queue",
    "llm-coordinator: chat talks",
)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_chat_is_one_trace_from_the_gateway_to_the_engine(traced: TracedMesh, streamed: bool) -> None:
    given = recorded()
    status, _, _ = traced.post("/v1/chat/completions", chat(stream=streamed), given)
    spans = traced.hops(trace_id_of(given), *CHAT_HOPS)

    assert status == 200
    assert set(spans) == set(CHAT_HOPS)
    http, request, classify, queue, attempt = (spans[name] for name in CHAT_HOPS)
    assert http.parent_id == given[36:52]
    assert request.parent_id == http.span_id
    assert {classify.parent_id, queue.parent_id, attempt.parent_id} == {request.span_id}
    # The engine is called as a part of the attempt.
    sent = [traceparent for server in traced.chats for traceparent in server.traceparents]
    assert f"00-{attempt.trace_id}-{attempt.span_id}-01" in sent
    for span in (request, classify, queue, attempt):
        assert span.attributes["sage.request_id"] == request.attributes["sage.request_id"]
        assert span.attributes["gen_ai.operation.name"] == "chat"
    assert attempt.attributes["gen_ai.request.model"] == "talks"
    assert (request.events, attempt.events) == (["first_token"], ["first_token"])
    for span in (request, attempt):
        used = {name: span.attributes[f"gen_ai.usage.{name}"] for name in ("input_tokens", "output_tokens")}
        assert used == {"input_tokens": 7, "output_tokens": 2}
        assert span.attributes["gen_ai.usage.cache_read.input_tokens"] == 3
    assert queue.attributes["messaging.system"] == "nats"
    assert queue.attributes["sage.engine"] == attempt.attributes["sage.engine"] == request.attributes["sage.engine"]


def test_an_embedding_is_one_trace_too(traced: TracedMesh) -> None:
    given = recorded()
    status, _, _ = traced.post("/v1/embeddings", {"model": "vectors", "input": SECRET}, given)
    hops = (
        "gateway: POST /v1/embeddings",
        "classifier: classify",
        "scheduler: queue",
        "llm-coordinator: embeddings vectors",
    )
    spans = traced.hops(trace_id_of(given), *hops, "gateway: embeddings vectors")

    assert status == 200
    assert spans[hops[-1]].attributes["gen_ai.usage.input_tokens"] == 4


def test_a_request_that_failed_over_shows_both_attempts(traced: TracedMesh) -> None:
    given = recorded()
    traced.broken.append("no")
    status, _, _ = traced.post("/v1/chat/completions", chat(), given)
    spans = traced.collector.until(
        trace_id_of(given),
        lambda found: (
            {*CHAT_HOPS, "scheduler: queue again"} <= {_name(span) for span in found}
            and sum(span.service == "sage-llm-coordinator" for span in found) == 2
        ),
    )
    attempts = [span for span in spans if span.service == "sage-llm-coordinator"]

    assert status == 200
    assert sorted(span.failed for span in attempts) == [False, True]
    assert len({span.attributes["sage.engine"] for span in attempts}) == 2
    assert [span.attributes["sage.tries"] for span in sorted(attempts, key=lambda span: not span.failed)] == [1, 2]


def test_a_call_over_grpc_is_one_trace_with_what_it_asks_for(traced: TracedMesh) -> None:
    given = recorded()
    address = f"127.0.0.1:{traced.mesh.processes('gateway')[0].ports['grpc']}"
    with grpc.insecure_channel(address) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        request = gateway_pb2.ChatRequest(model="talks", messages=[ChatMessage(role="user", content=SECRET)])
        stub.Chat(request, timeout=30, metadata=[("traceparent", given)])
    method = "gateway: sage.gateway.v1.GatewayService/Chat"
    spans = traced.hops(trace_id_of(given), method, *CHAT_HOPS[1:])

    assert spans[method].parent_id == given[36:52]
    assert spans["gateway: chat talks"].parent_id == spans[method].span_id


def test_a_job_is_one_trace_with_the_requests_of_its_tasks(traced: TracedMesh) -> None:
    given = recorded()
    traced.post("/v1/management/jobs?job_id=traced", PIPELINE, given)
    hops = ("gateway: POST /v1/management/jobs", "dataflow-worker: sage.dataflow.v1.DataflowService/SubmitJob")
    runs = ("dataflow-worker: job asks", "dataflow-worker: task 0 of asks")
    asked = ("dataflow-worker: chat talks", *CHAT_HOPS[2:])
    spans = traced.hops(trace_id_of(given), *hops, *runs, *asked)

    submit, job, task = spans[hops[1]], *(spans[name] for name in runs)
    assert submit.parent_id == spans[hops[0]].span_id
    assert (job.parent_id, task.parent_id) == (submit.span_id, submit.span_id)
    assert spans["dataflow-worker: chat talks"].parent_id == task.span_id
    assert task.attributes["sage.outcome"] == "succeeded"
    assert "task 0 of asks" in sage(traced.mesh, "trace", "traced")


def test_what_the_caller_does_not_want_recorded_is_not_and_its_trace_goes_on(traced: TracedMesh) -> None:
    given = unrecorded_traceparent()
    assert traced.post("/v1/chat/completions", chat(), given)[0] == 200
    after = recorded()
    traced.post("/v1/chat/completions", chat(), after)
    traced.hops(trace_id_of(after), *CHAT_HOPS)

    assert traced.collector.trace(trace_id_of(given)) == []
    assert given in [traceparent for server in traced.chats for traceparent in server.traceparents]


def test_a_refused_request_is_a_trace_with_its_error(traced: TracedMesh) -> None:
    given = recorded()
    status, _, _ = traced.post("/v1/chat/completions", chat(model="nobody"), given)
    spans = traced.hops(trace_id_of(given), "gateway: POST /v1/chat/completions", "gateway: chat")

    assert status == 404
    assert spans["gateway: chat"].failed


def test_a_trace_is_drawn_from_what_the_services_have_kept(traced: TracedMesh) -> None:
    _, _, request_id = traced.post("/v1/chat/completions", chat())
    shown = sage(traced.mesh, "trace", request_id)

    for step in ("gateway POST /v1/chat/completions", "classifier classify", "scheduler queue", "first token"):
        assert step in shown
    assert max(map(len, shown.splitlines())) <= 100
    (spans,) = json.loads(sage(traced.mesh, "trace", request_id, "--json"))
    assert {span["service"] for span in spans} == {"gateway", "classifier", "scheduler", "llm-coordinator"}


def test_requests_are_answered_while_the_collector_takes_nothing_and_lost_spans_are_counted(traced: TracedMesh) -> None:
    lost = r'^sage_trace_spans_dropped_total\{reason="not_taken"\} [1-9]'
    port = traced.mesh.processes("gateway")[0].ports["metrics"]

    def counted() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            return re.search(lost, response.read().decode(), re.MULTILINE) is not None

    traced.collector.refuses = True
    try:
        assert traced.post("/v1/chat/completions", chat(), recorded())[0] == 200
        asyncio.run(eventually(counted, seconds=20))
    finally:
        traced.collector.refuses = False
    given = recorded()
    traced.post("/v1/chat/completions", chat(), given)
    assert traced.hops(trace_id_of(given), *CHAT_HOPS)


def test_no_span_holds_a_prompt(traced: TracedMesh) -> None:
    assert len(traced.collector.raw) > 0
    assert SECRET.encode() not in traced.collector.raw


needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None, reason="prometheus and promtool are not installed (Debian: prometheus)"
)


@pytest.fixture(scope="module")
def scraping(traced: TracedMesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with prometheus(traced.mesh, tmp_path_factory.mktemp("prometheus")) as server:
        # Some requests between two scrapes, so that rates have a value.
        server.until("count(sage_nats_connected) == 5")
        for _ in range(4):
            traced.post("/v1/chat/completions", chat(stream=True))
            traced.post("/v1/embeddings", {"model": "vectors", "input": "a text"})
        server.until("sum(rate(sage_scheduler_answers_total[1m])) > 0")
        # Each process is read at a moment of its own: a rate is there once its series has been read twice.
        read = max(float(sample["value"][1]) for sample in server.query("count_over_time(up[10m])"))
        server.until(f"min(count_over_time(up[10m])) >= {read + 3:.0f}")
        yield server


@needs_prometheus
def test_prometheus_scrapes_every_process(scraping: Prometheus) -> None:
    up = {sample["metric"]["job"]: sample["value"][1] for sample in scraping.query("up")}
    assert up == dict.fromkeys(("gateway", "classifier", "scheduler", "llm-coordinator", "dataflow-worker"), "1")


# What a mesh shows that is up, well, has answered a chat, and has no embed-executor.
HAS_DATA = re.compile(
    r"answers_total\{outcome=~|_ttft_seconds|answer_seconds|scheduler_queue_seconds_bucket\[|gateway_(requests|in_flight|tokens|ttft|total)|classifier_|dispatched_total\["
    r"|executor_running|dataflow_(jobs|tasks)_running|nats_connected\)|process_|spans_exported|saturation\)"
)


@needs_prometheus
@pytest.mark.parametrize(("place", "expression"), asked())
def test_prometheus_answers_what_dashboards_and_alerts_ask(scraping: Prometheus, place: str, expression: str) -> None:
    found = scraping.query(expression)
    is_rule = ": " not in place
    if not is_rule and HAS_DATA.search(expression) and "bulk" not in expression:
        assert found, place


@needs_prometheus
def test_rules_are_evaluated_and_nothing_is_wrong_with_a_mesh_that_works(scraping: Prometheus) -> None:
    scraping.until("count(sage:missed:ratio_rate5m)")
    rules = scraping.rules()
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert firing <= {"SageAttainmentBurnsFast", "SageAttainmentBurns", "SageDiskFills"}


@needs_prometheus
@pytest.mark.parametrize(("check", "file"), [("rules", "alerts.yaml"), ("config", "prometheus.yaml")])
def test_promtool_finds_nothing_wrong(check: str, file: str, tmp_path: Path) -> None:
    assert PROMTOOL is not None
    # It looks for the certificates, which are a volume there.
    shutil.copytree(FOLDER, tmp_path / "files")
    SecuredFolder(tmp_path / "tls", datetime.datetime.now(datetime.timezone.utc)).secure()
    checked = tmp_path / "files" / file
    checked.write_text(checked.read_text().replace("/etc/prometheus/tls", str(tmp_path / "tls" / "client")))
    done = subprocess.run([PROMTOOL, "check", check, str(checked)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
