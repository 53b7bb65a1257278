"""Engines that SAGE starts, a program in vLLM's place: whatever is killed, none is lost, doubled or left behind."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from fixtures.fake_vllm_mesh import (
    ADOPTION_SECONDS,
    ORPHAN_SECONDS,
    SLACK_SECONDS,
    engines,
    mesh_with_fake,
    ready_elsewhere,
    replica_of,
    servers,
    start,
    stream,
    until,
    wait_for_coordinator,
    whole_answer,
)
from fixtures.process_mesh import further_process, sage

pytestmark = pytest.mark.alone


def test_a_coordinator_adopts_the_engine_of_a_killed_one_and_its_streams_go_on(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path, coordinators=2) as mesh:
        start(mesh)
        (engine,) = engines(mesh)
        before = servers(tmp_path)
        victim = mesh.process(replica_of(mesh, engine["executor_id"]))

        async def kill_in_the_midst() -> tuple[float, str]:
            under_way = asyncio.Event()
            streaming = asyncio.create_task(stream(mesh, 150, under_way))
            await under_way.wait()
            victim.kill()
            seconds = await until(ready_elsewhere(engine["executor_id"]), mesh, ADOPTION_SECONDS + SLACK_SECONDS)
            return seconds, await streaming

        seconds, text = asyncio.run(kill_in_the_midst())
        assert seconds < ADOPTION_SECONDS
        assert text == whole_answer(150)
        assert servers(tmp_path) == before
        # The killed one is back, and finds nothing to start.
        name = replica_of(mesh, engines(mesh)[0]["executor_id"])
        other = "llm-coordinator-2" if name == "llm-coordinator" else "llm-coordinator"
        mesh.wait_ready(other, not_pid=victim.pid)
        asyncio.run(until(lambda listed: len(listed) == 1, mesh, 5))
        assert servers(tmp_path) == before


def test_a_coordinator_that_is_started_again_takes_its_engine_back(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path) as mesh:
        start(mesh)
        (engine,) = engines(mesh)
        before = servers(tmp_path)
        mesh.process("llm-coordinator").kill()
        asyncio.run(until(ready_elsewhere(engine["executor_id"]), mesh, ORPHAN_SECONDS))
        assert servers(tmp_path) == before


def test_an_engine_that_nobody_adopts_ends_within_ten_seconds(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path, coordinators=0) as mesh:
        with further_process(mesh, "llm-coordinator", tmp_path / "log"):
            wait_for_coordinator(mesh)
            start(mesh)
            assert len(servers(tmp_path)) == 2
        began = time.monotonic()
        while servers(tmp_path):
            assert time.monotonic() - began < ORPHAN_SECONDS + SLACK_SECONDS
            time.sleep(0.05)


def test_what_operators_started_comes_back_after_everything_was_stopped_until_they_stop_it(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path) as mesh:
        start(mesh, "--name", "first")
        stopped = start(mesh, "--name", "second")
        assert len(servers(tmp_path)) == 4
        sage(mesh, "engine", "stop", stopped)
        assert len(servers(tmp_path)) == 2
    with mesh_with_fake(tmp_path) as mesh:
        asyncio.run(until(lambda listed: [e["phase"] for e in listed] == ["ready"], mesh, 20))
        assert [engine["labels"]["registered"] for engine in engines(mesh)] == ["first"]
        sage(mesh, "engine", "stop", "first")
        assert servers(tmp_path) == []


def test_down_leaves_nothing_even_when_the_supervisor_was_killed(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path) as mesh:
        start(mesh)
        assert len(servers(tmp_path)) == 2
        mesh.supervisor.kill()
        mesh.supervisor.wait(10)
        sage(mesh, "down")
        assert servers(tmp_path) == []


def test_an_engine_that_fails_again_and_again_says_so_and_can_be_restarted(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path, behaviour="crash", failures=1) as mesh:
        with pytest.raises(AssertionError, match="CUDA out of memory"):
            start(mesh, "--name", "broken")
        (engine,) = engines(mesh)
        assert engine["phase"] == "unhealthy"
        assert engine["reason"].startswith("given up after 1 starts")
        restarted = sage(mesh, "engine", "restart", "broken", "--no-wait")
        assert restarted != engine["engine_id"]
        assert "CUDA out of memory" in sage(mesh, "engine", "logs", "broken")


@pytest.mark.parametrize("preset", ["cpu-tiny"])
def test_a_preset_is_applied_and_its_log_can_be_read(tmp_path: Path, preset: str) -> None:
    with mesh_with_fake(tmp_path) as mesh:
        engine = sage(mesh, "engine", "preset", "apply", preset, "acme/steady")
        assert "given 1 GiB for KV cache" in sage(mesh, "engine", "logs", engine)
        assert sage(mesh, "engine", "stop", engine).endswith("0 requests aborted")


def test_a_model_that_was_given_up_hangs_nobody_and_a_preset_that_cannot_run_leaves_nothing(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path, behaviour="crash", failures=1) as mesh:
        with pytest.raises(AssertionError, match="CUDA out of memory"):
            sage(mesh, "engine", "preset", "apply", "cpu-tiny", "acme/steady")
        assert engines(mesh) == []
        with pytest.raises(AssertionError, match="CUDA out of memory"):
            start(mesh, "--name", "broken")
        with pytest.raises(AssertionError, match="'steady' cannot be served: broken: given up after 1 starts"):
            sage(mesh, "chat", "hello", "--model", "steady")
        # The default model is one whose engine answers.
        assert sage(mesh, "chat", "hello", "--json")
        with pytest.raises(AssertionError, match="engine broken is unhealthy: given up"):
            sage(mesh, "status")
