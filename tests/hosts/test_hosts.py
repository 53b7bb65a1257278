"""Three hosts with 20 ms and 1 % loss between them: kills, cut links, a host that dies, and clocks that differ."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from fixtures.eventually import eventually

from sage_benchmark.hosts.bed import ENGINE_HOSTS, FAKETIME, GATEWAY_HOST, Bed, bed, plans, skewed_clock
from sage_benchmark.hosts.checked_streams import CheckedStream, faults, start_streams
from sage_benchmark.hosts.lease_history import overlaps
from sage_benchmark.hosts.mesh_hosts import HostPlan
from sage_common.errors import UnavailableError

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(240)]
STREAMS = 20
TOKENS = 120
PARTITION_SECONDS = 10.0
# The bar is 3 s where an engine is all that a machine takes with it, and `sage bench hosts` holds it to that. Here it
# may lead, too: a lease lapses and the next leader hears what runs, before what was lost can be missed.
HOST_DEATH_GAP_SECONDS = 6.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with bed(tmp_path_factory.mktemp("hosts")) as running:
        yield running


def streams_through(
    running: Bed, name: str, harm: Callable[[], None], *, count: int = STREAMS, tokens: int = TOKENS
) -> Sequence[CheckedStream]:
    """Do harm in the midst of streams; return what their clients got."""

    async def through() -> Sequence[CheckedStream]:
        async with running.session() as session:
            run = start_streams(session, name, count, tokens)
            await run.under_way()
            await asyncio.to_thread(harm)
            return await run.end()

    with running.network.inside(GATEWAY_HOST):
        return asyncio.run(through())


def test_every_host_knows_all_of_the_mesh(running: Bed) -> None:
    seen = streams_through(running, "calm", lambda: None)
    assert faults(seen) == []
    assert {one.engine.partition("-")[0] for one in seen} == {"engine2", "engine3"}
    for host in running.network.hosts:
        shown = json.loads(running.hosts.sage(host, "status", "--json"))
        assert (shown["problems"], shown["secured"], shown["this_host"]) == ([], True, running.network.address(host))
        assert {one["host"] for one in shown["hosts"]} == {running.network.address(n) for n in running.network.hosts}
        assert all(one["serving"] == sum(one["services"].values()) for one in shown["hosts"])


@pytest.mark.parametrize("victim", ["llm-coordinator", "scheduler", "classifier", "engine"])
def test_killing_a_process_of_one_host_loses_and_doubles_nothing(running: Bed, victim: str) -> None:
    host = running.leader() if victim == "scheduler" else 2
    if victim == "engine":
        process = running.engines[host]
        seen = streams_through(running, "kill-engine", process.kill)
        process.wait()
        running.start_engine(host)
    else:
        killed = running.hosts[host].process(victim)
        seen = streams_through(running, f"kill-{victim}", killed.kill)
        running.hosts[host].wait_ready(victim, not_pid=killed.pid)
    assert faults(seen) == []
    running.wait_ready()


@pytest.mark.parametrize("link", [(1, 2), (1, 3), (2, 3)])
def test_a_link_that_is_cut_and_mended_loses_and_doubles_nothing(running: Bed, link: tuple[int, int]) -> None:
    def cut() -> None:
        running.network.cut(link)
        time.sleep(4.0)  # longer than any time limit after which another takes over
        running.network.mend()

    assert faults(streams_through(running, f"cut-{link[0]}{link[1]}", cut)) == []
    running.wait_ready()


def test_a_leader_that_is_cut_off_leads_no_more_when_another_does(running: Bed) -> None:
    leader = running.leader()
    if leader == GATEWAY_HOST:
        # NATS is there: cut off, nobody would have any. Another takes over, and is cut off in its place.
        old = running.hosts[GATEWAY_HOST].process("scheduler")
        old.kill()
        running.hosts[GATEWAY_HOST].wait_ready("scheduler", not_pid=old.pid)
        leader = running.leader()

    def isolate() -> None:
        running.network.isolate(leader)
        time.sleep(PARTITION_SECONDS)
        running.network.mend()

    before = len(running.terms())
    seen = streams_through(running, "isolated", isolate, tokens=3 * TOKENS)
    assert faults(seen) == []
    history = running.terms()[before - 1 :]
    assert len(history) > 1
    assert history[-1].host != leader
    assert overlaps(history) == []
    epochs = [term.epoch for term in history]
    assert epochs == sorted(set(epochs))
    running.wait_ready()


def test_a_host_that_dies_under_fifty_streams_is_continued_by_another_and_may_come_back(running: Bed) -> None:
    seen = streams_through(running, "power", lambda: running.hosts.power_off(3), count=50, tokens=3 * TOKENS)
    running.wait_ready((2,))
    running.network.mend()
    running.start_engine(3)
    running.hosts.bring_back(3, plans()[3])
    running.wait_ready()
    assert faults(seen) == []
    gaps = sorted(one.longest_gap_seconds for one in seen)
    assert gaps[int(0.99 * (len(gaps) - 1))] <= HOST_DEATH_GAP_SECONDS, gaps


@pytest.mark.skipif(not FAKETIME.is_file(), reason=f"needs {FAKETIME} of Debian's package libfaketime")
def test_clocks_that_are_five_seconds_apart_change_nothing(running: Bed) -> None:
    for host, seconds in zip(ENGINE_HOSTS, (5.0, -5.0), strict=True):
        plan = plans()[host]
        running.hosts.take_down(host)
        running.hosts.bring_back(host, HostPlan(plan.services, {**plan.settings, **skewed_clock(seconds)}))
    running.wait_ready()
    leader = running.leader()
    killed = running.hosts[leader].process("scheduler")
    seen = streams_through(running, "skewed", killed.kill)
    assert faults(seen) == []
    shown = json.loads(running.hosts.sage(1, "status", "--json"))
    assert {one["host"] for one in shown["hosts"]} == {running.network.address(n) for n in running.network.hosts}
    running.hosts[leader].wait_ready("scheduler", not_pid=killed.pid)


async def test_what_is_no_token_is_refused_at_once_and_changes_nothing(running: Bed, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.token"
    wrong.write_text("sage-join-1.AAAA")
    url = f"nats://{running.network.address(1)}:4222"
    for file, reason in ((wrong, "join token is not whole"), (tmp_path / "none", "cannot read the join token")):
        with pytest.raises(UnavailableError, match=reason):
            running.hosts.sage(2, "up", "--join", url, "--token", str(file))
    await eventually(lambda: running.ready_engines() == ["engine2", "engine3"])
