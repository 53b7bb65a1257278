"""Pods are followed through a real HTTP API that forgets, breaks off, and answers nonsense."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fixtures.cluster_api import ClusterApi, cluster_api, pod
from fixtures.eventually import eventually

from sage_common.errors import ConfigurationError
from sage_common.tasks import end_tasks
from sage_llm_coordinator.pods.engine_pod import PodStage
from sage_llm_coordinator.pods.kubernetes_api import KubernetesApi, own_namespace
from sage_llm_coordinator.pods.pod_watch import MAX_DELAY_SECONDS, PodWatch


@pytest.fixture
async def cluster() -> AsyncIterator[ClusterApi]:
    async with cluster_api() as api:
        yield api


class Following:
    """A watch that runs, and how long it wanted to wait between tries."""

    def __init__(self, watch: PodWatch, waits: list[float]) -> None:
        self.watch = watch
        self.waits = waits

    def stages(self) -> dict[str, str]:
        return {one.name: one.stage.value for one in self.watch.pods.values()}

    async def until(self, condition: Callable[[], bool]) -> None:
        await eventually(condition, seconds=10)


@asynccontextmanager
async def following(cluster: ClusterApi, directory: Path, watch_seconds: int = 60) -> AsyncIterator[Following]:
    waits: list[float] = []

    async def no_wait(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0.001)

    api = await KubernetesApi.open(str(cluster.kubeconfig(directory / "kubeconfig")))
    source = api.pods("sage", "sage.internal/engine", watch_seconds)
    watch = PodWatch("sage", source, lambda: None, sleep=no_wait, generator=random.Random(0))
    task = asyncio.create_task(watch.run())
    try:
        yield Following(watch, waits)
    finally:
        await end_tasks(task)
        await api.close()


async def test_pods_that_come_change_and_go_are_seen(cluster: ClusterApi, tmp_path: Path) -> None:
    cluster.set(pod("a"))
    async with following(cluster, tmp_path) as follower:
        await follower.until(lambda: follower.stages() == {"a": "ready"})
        assert cluster.lists[0]["labelSelector"] == "sage.internal/engine"
        assert cluster.lists[0]["namespace"] == "sage"
        await follower.until(lambda: cluster.watching == 1)
        cluster.set(pod("b", ready=False))
        cluster.set(pod("a", deleted=True))
        await follower.until(lambda: follower.stages() == {"a": "terminating", "b": "starting"})
        cluster.delete("a")
        await follower.until(lambda: follower.stages() == {"b": "starting"})
        assert follower.watch.current


async def test_a_watch_that_ends_goes_on_from_where_it_was(cluster: ClusterApi, tmp_path: Path) -> None:
    async with following(cluster, tmp_path) as follower:
        await follower.until(lambda: cluster.watching == 1)
        cluster.set(pod("a"))
        await follower.until(lambda: "a" in follower.stages())
        cluster.bookmark()
        cluster.end_watches()
        await follower.until(lambda: len(cluster.watches) == 2 and cluster.watching == 1)
        assert len(cluster.lists) == 1
        assert cluster.watches[1]["resourceVersion"] == "3"  # the bookmark's
        assert cluster.watches[1]["allowWatchBookmarks"].lower() == "true"


async def test_changes_while_the_connection_was_cut_are_not_missed(cluster: ClusterApi, tmp_path: Path) -> None:
    cluster.set(pod("a"))
    async with following(cluster, tmp_path) as follower:
        await follower.until(lambda: cluster.watching == 1)
        cluster.cut_watches()
        cluster.set(pod("b"))
        cluster.delete("a")
        await follower.until(lambda: follower.stages() == {"b": "ready"})
        assert len(cluster.lists) == 1


async def test_half_a_line_is_no_event(cluster: ClusterApi, tmp_path: Path) -> None:
    cluster.set(pod("a"))
    async with following(cluster, tmp_path) as follower:
        await follower.until(lambda: cluster.watching == 1)
        cluster.send_line(b'{"type":"DELETED","object":{"kind":"Pod","meta')
        cluster.end_watches()
        await follower.until(lambda: len(cluster.watches) >= 2 and cluster.watching == 1)
        assert follower.stages() == {"a": "ready"}
        cluster.set(pod("b"))
        await follower.until(lambda: follower.stages() == {"a": "ready", "b": "ready"})


@pytest.mark.parametrize(
    "line",
    [
        b"upstream connect error\n",
        b"[]\n",
        b'{"type":"SOMETHING","object":{"metadata":{"resourceVersion":"9"}}}\n',
        b'{"type":"ADDED","object":null}\n',
        b'{"type":"ERROR","object":{"kind":"Status","code":500,"reason":"InternalError","message":"etcd"}}\n',
        b'{"type":"ERROR","object":{}}\n',
    ],
)
async def test_nonsense_in_a_watch_begins_another(cluster: ClusterApi, tmp_path: Path, line: bytes) -> None:
    cluster.set(pod("a"))
    async with following(cluster, tmp_path) as follower:
        await follower.until(lambda: cluster.watching == 1)
        cluster.send_line(line)
        await follower.until(lambda: len(cluster.watches) == 2)
        cluster.set(pod("b"))
        await follower.until(lambda: follower.stages() == {"a": "ready", "b": "ready"})


async def test_a_version_that_has_expired_is_listed_again(cluster: ClusterApi, tmp_path: Path) -> None:
    cluster.set(pod("a"))
    cluster.set(pod("b"))
    async with following(cluster, tmp_path) as follower:
        await follower.until(lambda: cluster.watching == 1)
        # While nobody watches, one pod goes and the history with it: only a list shows that.
        del cluster.pods["a"]
        cluster.compact()
        cluster.cut_watches()
        await follower.until(lambda: follower.stages() == {"b": "ready"})
        assert len(cluster.lists) == 2
        await follower.until(lambda: cluster.watching == 1)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, '{"kind":"Status","code":403,"message":"pods is forbidden"}', "answered 403: pods is forbidden"),
        (500, "etcdserver: leader changed", "answered 500: etcdserver"),
        (200, "<html>", "an answer that is none"),
        (200, "{}", "an answer that is none"),
    ],
)
async def test_pods_stay_as_they_were_while_the_api_refuses(
    cluster: ClusterApi, tmp_path: Path, status: int, body: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.set(pod("a"))
    async with following(cluster, tmp_path) as follower:
        await follower.until(lambda: cluster.watching == 1)
        cluster.refusal = (status, body, {})
        cluster.compact()
        follower.waits.clear()
        cluster.cut_watches()
        await follower.until(lambda: len(follower.waits) >= 9)
        assert follower.stages() == {"a": "ready"}
        assert not follower.watch.current
        assert max(follower.waits) <= MAX_DELAY_SECONDS
        assert follower.waits[7] > 8 * follower.waits[0]
        cluster.refusal = None
        cluster.set(pod("b"))
        await follower.until(lambda: follower.stages() == {"a": "ready", "b": "ready"})
        assert follower.watch.current


async def test_a_list_that_is_refused_says_why_once(
    cluster: ClusterApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.refusal = (403, '{"kind":"Status","code":403,"message":"pods is forbidden"}', {})
    async with following(cluster, tmp_path) as follower:
        await follower.until(lambda: len(follower.waits) >= 4)
        assert not follower.watch.listed
    logged = capsys.readouterr()
    assert (logged.out + logged.err).count("pods is forbidden") == 1


async def test_an_api_that_is_busy_is_asked_again_when_it_says(cluster: ClusterApi, tmp_path: Path) -> None:
    cluster.refusal = (429, '{"kind":"Status","code":429,"message":"too many requests"}', {"Retry-After": "7"})
    async with following(cluster, tmp_path) as follower:
        await follower.until(lambda: len(follower.waits) >= 2)
        assert follower.waits[:2] == [7.0, 7.0]


async def test_a_silent_connection_ends_by_itself(
    cluster: ClusterApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sage_llm_coordinator.pods.kubernetes_api.SILENCE_SECONDS", -0.8)
    cluster.set(pod("a"))
    async with following(cluster, tmp_path, watch_seconds=1) as follower:
        await follower.until(lambda: len(cluster.watches) >= 2)
        assert follower.stages() == {"a": PodStage.READY.value}


async def test_the_token_of_the_kubeconfig_is_shown(cluster: ClusterApi, tmp_path: Path) -> None:
    cluster.keys = frozenset({"Bearer secret"})
    cluster.set(pod("a"))
    async with following(cluster, tmp_path) as follower:
        await follower.until(lambda: follower.stages() == {"a": "ready"})


async def test_a_cluster_that_nobody_names_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="automountServiceAccountToken"):
        await KubernetesApi.open()
    with pytest.raises(ConfigurationError, match="cannot tell how the Kubernetes cluster is reached"):
        await KubernetesApi.open(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="SAGE_LLM_COORDINATOR_KUBERNETES_NAMESPACES"):
        own_namespace()
