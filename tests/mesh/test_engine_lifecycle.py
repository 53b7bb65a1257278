"""Engines that SAGE starts, a program in vLLM's place, as operators start, restart and stop them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.fake_vllm_mesh import BROKEN, engines, mesh_with_fake, servers, start, until
from fixtures.process_mesh import sage

from sage_benchmark.isolated_mesh import IsolatedMesh


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lifecycle")


@pytest.fixture(scope="module")
def mesh(home: Path) -> Iterator[IsolatedMesh]:
    """A mesh that gives an engine up after one start that failed; each test stops what it has started."""
    with mesh_with_fake(home, failures=1) as running:
        yield running


@pytest.mark.long
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


def test_an_engine_that_fails_again_and_again_says_so_and_can_be_restarted(mesh: IsolatedMesh) -> None:
    with pytest.raises(AssertionError, match="CUDA out of memory"):
        start(mesh, "--name", "broken", model=BROKEN)
    (engine,) = engines(mesh)
    assert engine["phase"] == "unhealthy"
    assert engine["reason"].startswith("given up after 1 starts")
    restarted = sage(mesh, "engine", "restart", "broken", "--no-wait")
    assert restarted != engine["engine_id"]
    assert "CUDA out of memory" in sage(mesh, "engine", "logs", "broken")
    sage(mesh, "engine", "stop", "broken")


@pytest.mark.parametrize("preset", ["cpu-tiny"])
def test_a_preset_is_applied_and_its_log_can_be_read(mesh: IsolatedMesh, preset: str) -> None:
    engine = sage(mesh, "engine", "preset", "apply", preset, "acme/steady")
    assert "given 1 GiB for KV cache" in sage(mesh, "engine", "logs", engine)
    assert sage(mesh, "engine", "stop", engine).endswith("0 requests aborted")


def test_a_model_that_was_given_up_hangs_nobody_and_a_preset_that_cannot_run_leaves_nothing(
    mesh: IsolatedMesh,
) -> None:
    with pytest.raises(AssertionError, match="CUDA out of memory"):
        sage(mesh, "engine", "preset", "apply", "cpu-tiny", BROKEN)
    assert engines(mesh) == []
    with pytest.raises(AssertionError, match="CUDA out of memory"):
        start(mesh, "--name", "broken", model=BROKEN)
    with pytest.raises(AssertionError, match="'out-of-memory' cannot be served: broken: given up after 1 starts"):
        sage(mesh, "chat", "hello", "--model", "out-of-memory")
    # The default model is one whose engine answers.
    assert sage(mesh, "chat", "hello", "--json")
    with pytest.raises(AssertionError, match="engine broken is unhealthy: given up"):
        sage(mesh, "status")
    sage(mesh, "engine", "stop", "broken")


# The last, for it leaves no mesh.
def test_down_leaves_nothing_even_when_the_supervisor_was_killed(home: Path, mesh: IsolatedMesh) -> None:
    start(mesh)
    assert len(servers(home)) == 2
    mesh.supervisor.kill()
    mesh.supervisor.wait(10)
    sage(mesh, "down")
    assert servers(home) == []
