"""Pipelines from the network are read where they can do no harm."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sage_common.errors import UnavailableError
from sage_dataflow_worker.pipeline_admission import PipelineAdmission
from sage_dataflow_worker.pipeline_reader import READER_KILLED
from sage_kernel.file_access import FileAccess
from sage_kernel.host_access import HostAccess
from sage_kernel.problems import PipelineInvalidError
from sage_kernel.validation import from_yaml
from sage_platform import subjects
from sage_platform.supervision import bound_to_parent

ENVELOPE = {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}}
SINK = {"op": "sink", "in": "s", "uri": "collection:out"}
SMALL = json.dumps({**ENVELOPE, "nodes": {"s": {"op": "source", "records": [{"text": "a"}]}, "out": SINK}})
# What the loop of a worker may be away for; it runs other jobs, and answers calls.
BLOCKED_SECONDS = 0.05


@pytest.fixture
async def admission() -> AsyncIterator[PipelineAdmission]:
    made = PipelineAdmission(FileAccess(()))
    await made.start()
    yield made
    await made.stop()


class BlockedTime:
    """Measures how long at most the event loop does nothing for this task, in seconds of this process's work.

    By the processor time of the process: what other programs take of the machine is not the loop's doing.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> BlockedTime:
        self._task = asyncio.create_task(self._measure())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _measure(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.thread_time() - before)


async def test_a_pipeline_is_admitted_as_it_is_read_here(admission: PipelineAdmission) -> None:
    admitted = await admission.admit(SMALL)
    assert admitted.spec == from_yaml(SMALL)
    assert admitted.spec_hash == admitted.spec.spec_hash


async def test_errors_are_those_that_it_has_here(admission: PipelineAdmission) -> None:
    text = "nodes: {a: {op: sourse}}"
    with pytest.raises(PipelineInvalidError) as here:
        from_yaml(text)
    with pytest.raises(PipelineInvalidError) as there:
        await admission.admit(text)
    assert there.value.problems == here.value.problems


async def test_functions_and_expressions_are_checked_before_a_job_starts(admission: PipelineAdmission) -> None:
    head = "apiVersion: sage/v1\nkind: Pipeline\nmetadata: {name: p}\nnodes:\n  s: {op: source, records: [{n: 1}]}\n"
    tail = "  o: {op: sink, in: f, uri: 'collection:o'}\n"
    assert (await admission.admit(head + "  f: {op: filter, in: s, where: 'n > 1'}\n" + tail)).spec_hash
    with pytest.raises(PipelineInvalidError, match="'os:getenv' is not allowed"):
        await admission.admit(head + "  f: {op: filter, in: s, ref: 'os:getenv'}\n" + tail)
    with pytest.raises(PipelineInvalidError, match="starts a subquery"):
        await admission.admit(head + "  f: {op: filter, in: s, where: 'n IN (SELECT 1)'}\n" + tail)


@pytest.mark.parametrize(
    "text",
    [
        "nodes:\n" + "".join(f"  n{n}: {{op: sink, in: m{n}, uri: 'collection:c{n}'}}\n" for n in range(2500)),
        "nodes: {n: {op: source, " + ", ".join(f"recordz{n}: 1" for n in range(9000)) + "}}",
        "nodes: " + "[" * 125_000,
        json.dumps({**ENVELOPE, "nodes": {"s": {"op": "source", "records": [{"t": "x" * 50}] * 14_000}, "out": SINK}}),
    ],
    ids=["unknown names", "unknown parameters", "deep", "large and right"],
)
async def test_the_loop_is_never_away_for_long(admission: PipelineAdmission, text: str) -> None:
    async with BlockedTime() as blocked:
        await asyncio.gather(admission.admit(text), return_exceptions=True)
    assert blocked.longest < BLOCKED_SECONDS


async def test_one_that_takes_too_long_is_given_up_and_the_next_is_read() -> None:
    admission = PipelineAdmission(FileAccess(()), processor_seconds=0.5)
    endless = "nodes:\n" + "".join(f"  n{n}: {{op: sink, in: m{n}, uri: 'collection:c{n}'}}\n" for n in range(17_000))
    with pytest.raises(PipelineInvalidError, match=r"could not be read within 0\.5 s of processor time"):
        await admission.admit(endless)
    assert (await admission.admit(SMALL)).spec.metadata.name == "p"
    await admission.stop()


@pytest.mark.parametrize("tenant", ["hostile", "honest"])
async def test_long_ones_hold_up_neither_another_tenant_nor_short_ones_of_their_own(tenant: str) -> None:
    admission = PipelineAdmission(FileAccess(()), processor_seconds=20.0)
    endless = "nodes:\n" + "".join(f"  n{n}: {{op: sink, in: m{n}, uri: 'collection:c{n}'}}\n" for n in range(17_000))
    hostile = [asyncio.ensure_future(admission.admit(endless, "hostile")) for _ in range(4)]
    assert (await admission.admit(SMALL, tenant)).spec.metadata.name == "p"
    assert not any(one.done() for one in hostile)
    for one in hostile:
        one.cancel()
    await asyncio.gather(*hostile, return_exceptions=True)
    await admission.stop()


async def test_an_honest_one_may_wait_for_a_busy_machine() -> None:
    admission = PipelineAdmission(FileAccess(()), processor_seconds=0.5)
    await admission.start()
    child = admission._readers[-1]._child
    assert child is not None
    os.kill(child.pid, signal.SIGSTOP)
    reading = asyncio.ensure_future(admission.admit(SMALL))
    # Longer by the clock than it may use the processor.
    done, _ = await asyncio.wait({reading}, timeout=0.6)
    assert not done
    os.kill(child.pid, signal.SIGCONT)
    assert (await reading).spec.metadata.name == "p"
    await admission.stop()


async def test_hosts_are_checked_before_a_job_starts() -> None:
    hosts = HostAccess(("*.example.com",), setting="dataflow_worker.allowed_hosts")
    admission = PipelineAdmission(FileAccess(()), hosts=hosts)
    source = {"op": "source", "uri": "https://api.example.com/a", "schema": {"n": "int"}}
    sink = {"op": "sink", "in": "s", "uri": "http://169.254.169.254/latest", "id": "{n}"}
    with pytest.raises(PipelineInvalidError) as refusal:
        await admission.admit(json.dumps({**ENVELOPE, "nodes": {"s": source, "out": sink}}))
    (problem,) = refusal.value.problems
    assert (problem.node, problem.field) == ("out", "uri")
    assert "169.254.169.254 is not a host that pipelines may use (allowed: *.example.com)" in problem.message
    assert problem.remedy == "add it to dataflow_worker.allowed_hosts"
    await admission.stop()


async def _reading_with_a_stopped_reader(admission: PipelineAdmission) -> tuple[asyncio.Task[Any], int]:
    child = admission._readers[-1]._child
    assert child is not None
    os.kill(child.pid, signal.SIGSTOP)
    reading = asyncio.create_task(admission.admit(SMALL))
    await asyncio.sleep(0)
    return reading, child.pid


async def test_one_that_ends_its_reader_is_an_error_and_the_next_is_read(admission: PipelineAdmission) -> None:
    reading, pid = await _reading_with_a_stopped_reader(admission)
    # What Rust does where it gets no memory.
    os.kill(pid, signal.SIGABRT)
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(PipelineInvalidError, match="what read it ended"):
        await reading
    assert (await admission.admit(SMALL)).spec.metadata.name == "p"


async def test_a_reader_that_is_killed_from_outside_is_started_again(admission: PipelineAdmission) -> None:
    reading, pid = await _reading_with_a_stopped_reader(admission)
    os.kill(pid, signal.SIGKILL)
    assert (await reading).spec.metadata.name == "p"


async def test_one_whose_readers_are_all_killed_is_not_called_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    # A reader that the system kills as soon as a pipeline comes.
    program = (
        "import os, sys; w = sys.stdout.buffer; w.write(b'\\0\\0\\0\\2{}'); w.flush(); sys.stdin.buffer.read(1);"
        "os.kill(os.getpid(), 9)"
    )
    monkeypatch.setattr(bound_to_parent, "command", lambda _: [sys.executable, "-c", program])
    admission = PipelineAdmission(FileAccess(()))
    with pytest.raises(UnavailableError, match="was killed 2 times") as refusal:
        await admission.admit(SMALL)
    assert (refusal.value.code, refusal.value.retryable) == (READER_KILLED, True)
    await admission.stop()


async def test_a_job_that_kills_its_worker_while_it_is_read_ends_in_the_dead_letters(workplace: Any) -> None:
    asked = asyncio.Event()

    async def never(*_: Any, **__: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    for number in range(2):
        worker = await workplace.worker(f"victim-{number}", max_attempts=2)
        worker.assembly.admission.admit = never
        if number == 0:
            await worker.publish(SMALL, {"Sage-Job-Id": "poison"})
        await asyncio.wait_for(asked.wait(), 10)
        asked.clear()
        await worker.die()
    survivor = await workplace.worker("survivor", max_attempts=2)
    job = await survivor.until("poison", "FAILED")
    assert job.attempts == 2
    assert "started 2 times and never ended" in job.errors[0]
    (letter,) = await survivor.dead_letters("poison", "whole job")
    assert letter["record"] == {"pipeline": SMALL}
    assert letter["attempts"] == 2


async def test_a_job_whose_record_cannot_be_read_does_not_hold_up_the_others(workplace: Any) -> None:
    worker = await workplace.worker("one")
    worker.models.gate.set()
    js = worker.ring.connection.jetstream()
    for garbage in (b"", b"\xff", b"null", b"[]", b'{"job_id": 3}'):
        await js.publish(f"$KV.{subjects.BUCKET_JOBS}.{subjects.token('broken')}", garbage)
    await worker.publish(SMALL, {"Sage-Job-Id": "broken"})
    await worker.publish(SMALL, {"Sage-Job-Id": "good"})
    assert (await worker.until("good", "SUCCEEDED")).errors == ()
    assert "cannot be read" in (await worker.api.get("broken")).errors[0]
    assert [job.job_id for job in worker.api.newest(10)] == ["good"]
