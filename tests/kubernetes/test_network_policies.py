"""NetworkPolicies let the ring through, and nothing else: every pair of peers is tried on every port."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.network_policies import OUTSIDE, Peer, passes
from fixtures.rendered_overlays import OVERLAYS, Resource, of_kind, pod_of, workloads

from sage_common.ports import SagePorts

SERVICES = tuple(sorted(path.parent.name for path in Path(__file__).parents[2].glob("services/*/pyproject.toml")))
GRPC = {service: SagePorts[f"{service.upper().replace('-', '_')}_GRPC"] for service in SERVICES}
HTTP, NATS, MONITOR = SagePorts.GATEWAY_HTTP, SagePorts.NATS, SagePorts.NATS_MONITOR
ROUTES = SagePorts.NATS_CLUSTER
ENGINE, HUB, API = 8000, 443, 6443
PORTS = {HTTP, NATS, MONITOR, ROUTES, ENGINE, HUB, API, 22, *GRPC.values(), *(port.metrics for port in GRPC.values())}
MONITORED = ("gpu", "nats-cluster")
Way = tuple[str, str, int]


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def labels_of_namespaces(overlay: str) -> dict[str, dict[str, str]]:
    """Return the labels of each namespace; a cluster adds the name."""
    return {
        one["metadata"]["name"]: {**one["metadata"]["labels"], "kubernetes.io/metadata.name": one["metadata"]["name"]}
        for one in of_kind(overlay, "Namespace")
    }


def peers(overlay: str) -> list[Peer]:
    """Return a pod of each workload, and who else there is in a cluster."""
    namespaces = labels_of_namespaces(overlay)
    found = []
    for workload in workloads(overlay):
        metadata = pod_of(workload)["metadata"]
        namespace = metadata["namespace"]
        name = workload["metadata"]["name"] + ("" if namespace == "sage" else f"@{namespace}")
        labels = tuple(metadata["labels"].items())
        found.append(Peer(name, namespace, labels, tuple(namespaces[namespace].items())))
    others = {
        "prometheus": ("monitoring", {"app.kubernetes.io/name": "prometheus"}),
        "stranger": ("other", {"app.kubernetes.io/name": "gateway", "sage.internal/ring": "service"}),
        "intruder": ("sage", {"app.kubernetes.io/name": "intruder"}),
    }
    for name, (namespace, labels_) in others.items():
        own = namespaces.get(namespace, {"kubernetes.io/metadata.name": namespace})
        found.append(Peer(name, namespace, tuple(labels_.items()), tuple(own.items())))
    return [*found, Peer(OUTSIDE)]


def ways(overlay: str) -> set[Way]:
    """Return every (from, to, port) that the policies let through."""
    policies: list[Resource] = of_kind(overlay, "NetworkPolicy")
    every = peers(overlay)
    return {
        (source.name, target.name, int(port))
        for source in every
        for target in every
        for port in PORTS
        if source is not target and passes(policies, source, target, port)
    }


def expected(overlay: str) -> set[Way]:
    """Return the ring, and who asks it."""
    engines = {
        "quickstart": (),
        "gpu": ("vllm",),
        "nats-cluster": ("vllm",),
        "namespaces": ("vllm@sage-engines-team-a", "vllm@sage-engines-team-b"),
    }[overlay]
    found: set[Way] = {(service, "nats", NATS) for service in SERVICES}
    found |= {("gateway", service, GRPC[service]) for service in SERVICES if service != "gateway"}
    clients = ("prometheus", "stranger", OUTSIDE)
    found |= {(client, "gateway", port) for client in clients for port in (HTTP, GRPC["gateway"])}
    found |= {("llm-coordinator", engine, ENGINE) for engine in engines}
    if overlay in MONITORED:
        found |= {("prometheus", service, GRPC[service].metrics) for service in SERVICES}
    return found


def test_the_ring_is_let_through_and_nothing_else(overlay: str) -> None:
    def beyond(way: Way) -> bool:
        """Whether it is to an address outside, or a peer that SAGE does not deploy."""
        return way[1] in (OUTSIDE, "prometheus", "stranger")

    found = ways(overlay)
    assert {way for way in found if not beyond(way)} == expected(overlay)
    # Beyond: the cluster's API for the coordinator, a hub for the engines. A policy cannot say who has these addresses.
    assert {(way[0].partition("@")[0], way[2]) for way in found if beyond(way) and way[0] in owners(overlay)} == {
        ("llm-coordinator", HUB),
        ("llm-coordinator", API),
        *({("vllm", HUB)} if overlay != "quickstart" else ()),
    }


def owners(overlay: str) -> set[str]:
    """Return the names of what SAGE deploys."""
    return {peer.name for peer in peers(overlay)} - {OUTSIDE, "prometheus", "stranger", "intruder"}


def test_servers_of_nats_reach_each_other_where_there_are_several(overlay: str) -> None:
    nats = next(peer for peer in peers(overlay) if peer.name == "nats")
    other = Peer("nats-1", nats.namespace, nats.labels, nats.namespace_labels)
    assert passes(of_kind(overlay, "NetworkPolicy"), nats, other, ROUTES) is (overlay == "nats-cluster")
    assert not passes(of_kind(overlay, "NetworkPolicy"), nats, other, MONITOR)


def test_everybody_may_ask_for_names(overlay: str) -> None:
    labels, namespace = (("k8s-app", "kube-dns"),), (("kubernetes.io/metadata.name", "kube-system"),)
    dns = Peer("dns", "kube-system", labels, namespace)
    for peer in peers(overlay):
        if peer.name in owners(overlay):
            assert passes(of_kind(overlay, "NetworkPolicy"), peer, dns, 53, "UDP")
            assert not passes(of_kind(overlay, "NetworkPolicy"), peer, dns, 80)


def test_an_engine_that_is_no_engine_by_its_label_is_not_reached(overlay: str) -> None:
    every = {peer.name: peer for peer in peers(overlay)}
    impostor = Peer("vllm", "sage", (("app.kubernetes.io/name", "vllm"),), every["gateway"].namespace_labels)
    assert not passes(of_kind(overlay, "NetworkPolicy"), every["llm-coordinator"], impostor, ENGINE)
