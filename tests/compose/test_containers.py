"""The mesh in containers answers the openai client, outlives its parts, and ends in order."""

from __future__ import annotations

import base64
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from fixtures.compose_stack import MODELS, ComposeStack

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1800)]

SERVICES = ("gateway", "classifier", "scheduler", "embed-executor", "llm-coordinator", "dataflow-worker")
CONTEXT = (
    "Answer the question from the context.\n\nContext:\n[1] The scheduler holds a lease for each pool. "
    "When it dies, a standby takes the lease within two seconds.\n[2] Cats sleep most of the day.\n\n"
    "Question: What happens when the scheduler dies?"
)
# As the one process of a container that is not its init: it ends without a word.
KILL_THE_SERVICE = "import psutil; [process.kill() for process in psutil.Process(1).children()]"


def ask(client: openai.OpenAI) -> str:
    answer = client.chat.completions.create(model="sage-extractive", messages=[{"role": "user", "content": CONTEXT}])
    return answer.choices[0].message.content or ""


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} >= MODELS


def test_chat_answers_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = ask(client)
    chunks = list(
        client.chat.completions.create(
            model="sage-extractive",
            messages=[{"role": "user", "content": CONTEXT}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    assert "standby" in whole
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


def test_a_model_that_generates_is_in_the_image(client: openai.OpenAI) -> None:
    question = "What is the capital of France? Answer with its name."
    chunks = list(
        client.chat.completions.create(
            model="smollm2-135m",
            messages=[{"role": "user", "content": question}],
            max_tokens=24,
            temperature=0,
            stream=True,
        )
    )
    said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "Paris" in "".join(said)
    assert sum(bool(piece) for piece in said) > 1, "tokens come one by one"


def test_embeddings_have_meaning_and_are_equal_in_both_encodings(client: openai.OpenAI) -> None:
    texts = ["a kitten sleeps", "the cat is asleep", "quarterly revenue fell"]
    floats = [item.embedding for item in client.embeddings.create(model="minilm", input=texts).data]
    coded = client.embeddings.with_raw_response.create(model="minilm", input=texts, encoding_format="base64")

    def similarity(one: int, other: int) -> float:
        return sum(a * b for a, b in zip(floats[one], floats[other], strict=True))

    assert similarity(0, 1) > similarity(0, 2) + 0.2
    for vector, item in zip(floats, coded.http_response.json()["data"], strict=True):
        assert struct.unpack(f"<{len(vector)}f", base64.b64decode(item["embedding"])) == pytest.approx(vector, abs=1e-6)


def test_every_container_is_healthy_and_has_few_rights(stack: ComposeStack) -> None:
    (secure,) = stack.containers("secure")
    assert (secure.running, secure.exit_code) == (False, 0)
    containers = [container for container in stack.containers() if container.id != secure.id]
    assert len(containers) == 1 + len(SERVICES) + 2

    for container in containers:
        stack.wait_healthy(container)
        assert container.facts["HostConfig"]["ReadonlyRootfs"]
        assert container.facts["HostConfig"]["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in container.facts["HostConfig"]["SecurityOpt"]
        assert container.facts["HostConfig"]["Memory"] > 0
    for service in SERVICES:
        assert stack.compose("exec", "-T", service, "id", "-u").strip() == "10001"


@pytest.mark.parametrize("service", ["classifier", "scheduler"])
@pytest.mark.parametrize("which", [0, 1])
def test_killing_one_of_two_does_not_stop_the_service(
    stack: ComposeStack, client: openai.OpenAI, service: str, which: int
) -> None:
    # Both in turn: one of the two schedulers holds the lease.
    victim = stack.containers(service)[which]
    asked = threading.Barrier(9)

    def ask_before_and_after(_: int) -> str:
        ask(client)
        asked.wait(30)
        return ask(client)

    try:
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(ask_before_and_after, number) for number in range(8)]
            asked.wait(60)
            stack.docker("kill", victim.id)
            assert all("standby" in answer.result(60) for answer in answers)
        assert not stack.container(victim.id).running
        assert all("standby" in ask(client) for _ in range(20))
    finally:
        stack.docker("start", victim.id)
    stack.wait_healthy(victim)


def test_a_process_that_dies_is_started_again(stack: ComposeStack, client: openai.OpenAI) -> None:
    (executor,) = stack.containers("embed-executor")

    stack.compose("exec", "-T", "embed-executor", "python", "-c", KILL_THE_SERVICE)

    stack.wait_for("started again", lambda: stack.container(executor.id).restarts == executor.restarts + 1)
    stack.wait_healthy(executor)
    assert len(client.embeddings.create(model="minilm", input="again").data[0].embedding) == 384


def test_the_mesh_outlives_a_restart_of_nats(stack: ComposeStack, client: openai.OpenAI) -> None:
    (nats,) = stack.containers("nats")

    stack.docker("restart", "-t", "10", nats.id)

    stack.wait_healthy(nats)
    stack.wait_ready()
    assert "standby" in ask(client)


def test_services_end_in_order_when_they_are_stopped(stack: ComposeStack) -> None:
    try:
        stack.compose("stop", "-t", "20", *SERVICES)
        for service in SERVICES:
            for container in stack.containers(service):
                assert container.exit_code == 0, f"{service} ended with {container.exit_code}:\n{stack.logs()}"
    finally:
        stack.compose("start", *SERVICES)
        stack.wait_ready()
